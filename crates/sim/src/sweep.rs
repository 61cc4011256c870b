//! Many seeds, on all processors.

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use dialtone_clock::{Clock, seed_from};
use dialtone_store::Store;
use dialtone_store::memory::MemoryStore;

use crate::faults::{Selection, Struck};
use crate::{Config, Mutant, Outcome, run_on};

/// How often whoever waits for the end of a sweep is told how far it is.
const TOLD_EVERY: Duration = Duration::from_millis(200);

/// An empty engine for one simulation on this clock, and what has to live as long.
pub type Opened = (Arc<dyn Store>, Box<dyn Send>);

/// Gives empty engines.
pub type Engines<'a> = &'a (dyn Fn(Arc<dyn Clock>) -> Opened + Sync);

/// The memory engine.
pub fn memory(_clock: Arc<dyn Clock>) -> Opened {
    (Arc::new(MemoryStore::new()), Box::new(()))
}

/// What is simulated with each seed.
#[derive(Clone)]
pub struct Case<'a> {
    /// Entries of the batch.
    pub entries: u32,
    /// Faults that may strike.
    pub faults: Selection,
    /// The bug that is planted.
    pub mutant: Option<Mutant>,
    /// Over what.
    pub engines: Engines<'a>,
}

impl Case<'_> {
    /// Simulates one seed. A panic is a violation like any other.
    pub fn run(&self, seed: u64, traced: bool) -> Outcome {
        let swarm = Config::selected(seed, self.entries, &self.faults);
        let mut config = Config { mutant: self.mutant, traced, ..swarm };
        if self.mutant.is_some() && seed.is_multiple_of(2) {
            // Options hide bugs: a call that does not begin cannot go wrong.
            config.policy = crate::Policy::default();
        }
        let mut held: Option<Box<dyn Send>> = None;
        let simulated = catch_unwind(AssertUnwindSafe(|| {
            run_on(config, |clock| {
                let (engine, keeps) = (self.engines)(clock);
                held = Some(keeps);
                engine
            })
        }));
        simulated.unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no word");
            Outcome { violations: vec![format!("panicked: {said}")], ..Outcome::default() }
        })
    }

    /// What counts as wrong in an outcome: with a planted bug, what it has to be caught by.
    pub fn wrong<'o>(&self, outcome: &'o Outcome) -> Option<&'o String> {
        let caught_by = self.mutant.map(Mutant::caught_by);
        outcome.violations.iter().find(|text| {
            caught_by.is_none_or(|wanted| wanted.iter().any(|wanted| text.contains(wanted)))
        })
    }
}

/// What came of many seeds. Does not depend on how many threads simulated them, unless one
/// went wrong: then seeds above it are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Seeds that were simulated.
    pub seeds: u64,
    /// Simulation events.
    pub events: u64,
    /// Attempts begun.
    pub attempts: u64,
    /// Dial claims won.
    pub dials: u64,
    /// Changes that came too late, because others came between decision and change.
    pub overtaken: u64,
    /// Faults that struck.
    pub struck: Struck,
    /// Virtual time, from triggers to ends.
    pub simulated: Duration,
    /// Histories that differ.
    pub traces: BTreeSet<u64>,
    /// Digest of all histories.
    pub digest: u64,
    /// The lowest seed in which something went wrong.
    pub wrong: Option<u64>,
}

impl Totals {
    fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.seeds += 1;
        self.events += outcome.events;
        self.attempts += u64::from(outcome.attempts);
        self.dials += u64::from(outcome.dials);
        self.overtaken += outcome.stale;
        for (fault, n) in &outcome.struck {
            *self.struck.entry(*fault).or_default() += n;
        }
        self.simulated += outcome.simulated;
        self.traces.insert(outcome.trace_hash);
        let part = seed_from(seed, &[&outcome.trace_hash.to_le_bytes()]);
        self.digest = self.digest.wrapping_add(part);
    }
}

/// Simulates all seeds on so many threads. `told` is called now and then with the number of
/// seeds that are done.
pub fn sweep(
    case: &Case<'_>,
    seeds: Range<u64>,
    threads: usize,
    mut told: impl FnMut(u64),
) -> Totals {
    let (next, wrong) = (AtomicU64::new(seeds.start), AtomicU64::new(u64::MAX));
    let totals = Mutex::new(Totals::default());
    let one = &|| {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || seed > wrong.load(Ordering::Relaxed) {
                return;
            }
            let outcome = case.run(seed, false);
            if case.wrong(&outcome).is_some() {
                wrong.fetch_min(seed, Ordering::Relaxed);
            }
            locked(&totals).add(seed, &outcome);
        }
    };
    thread::scope(|scope| {
        let (done, all_done) = mpsc::channel::<()>();
        for _ in 0..threads.max(1) {
            let done = done.clone();
            scope.spawn(move || {
                one();
                drop(done);
            });
        }
        drop(done);
        while all_done.recv_timeout(TOLD_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
            let seeds = locked(&totals).seeds;
            told(seeds);
        }
    });
    let mut totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    totals.wrong = Some(wrong.into_inner()).filter(|seed| *seed < u64::MAX);
    totals
}

fn locked(totals: &Mutex<Totals>) -> MutexGuard<'_, Totals> {
    totals.lock().unwrap_or_else(PoisonError::into_inner)
}
