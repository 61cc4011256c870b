//! Whatever the seed, a random walk leaves the memory engine consistent: counters are a
//! recount, events have no gap and fold to the figures.

use dialtone_store::conformance::Walk;
use dialtone_store::memory::MemoryStore;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_walk_is_consistent(seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (one, other) = (MemoryStore::new(), MemoryStore::new());
        runtime.block_on(Walk::new(seed, 400).run(&one, &other));
    }
}
