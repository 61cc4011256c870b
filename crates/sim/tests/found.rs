//! Seeds that showed a bug of the pipeline, each with what went wrong.

use dialtone_contract::OutcomeWeights;
use dialtone_sim::{Config, run};

fn swarm(seed: u64) -> Config {
    let weights = OutcomeWeights { completed: 8, failed: 6, stuck: 3, dropped: 3 };
    Config { traced: true, ..Config::swarm(seed, weights) }
}

/// Two dispatchers read the same calls in flight, and each leased up to what was left of
/// `max_concurrent`, until the store compared it when it leases.
#[test]
fn several_dispatchers_keep_to_the_calls_at_once() {
    for seed in [5, 11, 23] {
        let outcome = run(swarm(seed));
        assert!(outcome.violations.is_empty(), "{:#?}\n{:#?}", outcome.violations, outcome.trace);
    }
}

/// A breaker counted attempts that had left its window, where one that ended later was
/// committed before them.
#[test]
fn a_breaker_looks_at_its_window_alone() {
    let outcome = run(swarm(9241));
    assert!(outcome.violations.is_empty(), "{:#?}\n{:#?}", outcome.violations, outcome.trace);
}
