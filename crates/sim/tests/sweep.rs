//! Many seeds at once: the same result on any number of threads and on any engine, and the
//! shortest way to see what goes wrong.

use std::sync::Arc;

use dialtone_sim::{Case, Fault, Mutant, Selection, memory, shrink, sweep, telling};
use dialtone_store_sqlite::SqliteStore;

fn case() -> Case<'static> {
    Case { entries: 20, faults: Selection::all(), mutant: None, engines: &memory }
}

#[test]
fn threads_do_not_change_the_result() {
    let alone = sweep(&case(), 0..60, 1, |_| {});
    let together = sweep(&case(), 0..60, 3, |_| {});
    assert_eq!(alone, together);
    assert_eq!((alone.seeds, alone.wrong), (60, None));
    assert!(alone.traces.len() > 58, "only {} histories", alone.traces.len());
}

#[test]
fn sqlite_has_the_histories_of_the_memory_engine() {
    let folder = tempfile::tempdir().expect("a folder");
    let engines = |clock| {
        let own = tempfile::tempdir_in(folder.path()).expect("a folder");
        let store = SqliteStore::open(own.path(), clock).expect("a database");
        let (store, own): (Arc<dyn dialtone_store::Store>, Box<dyn Send>) =
            (Arc::new(store), Box::new(own));
        (store, own)
    };
    let on_sqlite = Case { entries: 8, engines: &engines, ..case() };
    let on_memory = Case { entries: 8, ..case() };
    for seed in 0..4 {
        let (sqlite, memory) = (on_sqlite.run(seed, true), on_memory.run(seed, true));
        assert_eq!(sqlite.violations, Vec::<String>::new(), "seed {seed}");
        assert_eq!(sqlite.trace_hash, memory.trace_hash, "seed {seed}");
        assert_eq!(sqlite.struck, memory.struck, "seed {seed}");
    }
}

#[test]
fn what_is_not_selected_does_not_strike() {
    let faults: Selection = "callbacks,crash".parse().expect("a selection");
    let some = sweep(&Case { faults: faults.clone(), ..case() }, 0..40, 2, |_| {});
    assert!(some.struck.contains_key(&Fault::Crash), "{:?}", some.struck);
    assert!(some.struck.keys().all(|fault| faults.has(*fault) || !fault.strikes_alone()));
    let calm = sweep(&Case { faults: Selection::none(), ..case() }, 0..40, 2, |_| {});
    assert!(!calm.struck.keys().any(|fault| fault.strikes_alone()), "{:?}", calm.struck);
}

#[test]
fn what_goes_wrong_is_shown_with_few_entries_and_few_faults() {
    let planted = Case { mutant: Some(Mutant::DispatchFirst), ..case() };
    let seed = sweep(&planted, 0..500, 2, |_| {}).wrong.expect("it is caught");
    let least = shrink(&planted, seed);
    assert!(least.entries < 20, "{} entries", least.entries);
    assert!(least.faults.iter().count() < 10, "{}", least.faults);
    let outcome = least.run(seed, true);
    let violation = least.wrong(&outcome).expect("it still goes wrong");
    let lines = telling(&outcome.trace, violation, 10);
    assert!(!lines.is_empty() && lines.len() <= 10, "{lines:?}");
}
