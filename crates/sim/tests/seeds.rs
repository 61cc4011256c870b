//! Seeded histories: the four scenarios without faults, swarms of faults, and the
//! planted bugs, all of which must be caught.

use dialtone_contract::OutcomeWeights;
use dialtone_sim::{Config, Faults, Mutant, Outcome, run};

const fn weights(completed: u32, failed: u32, stuck: u32, dropped: u32) -> OutcomeWeights {
    OutcomeWeights { completed, failed, stuck, dropped }
}

const DEFAULT_MIX: OutcomeWeights = weights(24, 100, 15, 10);

fn all_hold(
    weights: OutcomeWeights,
    seeds: std::ops::Range<u64>,
    faults: fn(u64) -> Faults,
) -> Vec<Outcome> {
    let outcomes = seeds.map(|seed| {
        let outcome = run(Config { seed, weights, faults: faults(seed), mutant: None });
        assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}", outcome.violations);
        outcome
    });
    outcomes.collect()
}

fn calm(_: u64) -> Faults {
    Faults::default()
}

fn scenario(weights: OutcomeWeights, attempts: u32, dials: u32) {
    for outcome in all_hold(weights, 0..200, calm) {
        assert_eq!((outcome.attempts, outcome.dials), (attempts, dials));
        assert_eq!(outcome.as_planned, weights.pairs().map(|(_, n)| n));
    }
}

#[test]
fn ten_completed_are_exact_for_every_seed() {
    scenario(weights(10, 0, 0, 0), 10, 10);
}

#[test]
fn ten_failed_are_exact_for_every_seed() {
    scenario(weights(0, 10, 0, 0), 10, 10);
}

#[test]
fn fifteen_stuck_are_exact_for_every_seed() {
    scenario(weights(0, 0, 15, 0), 45, 0);
}

#[test]
fn the_default_mix_is_exact_for_every_seed() {
    scenario(DEFAULT_MIX, 199, 124);
}

#[test]
fn invariants_hold_under_swarms_of_faults() {
    let outcomes = all_hold(weights(8, 6, 3, 3), 0..1000, Faults::swarm);
    let struck: u64 = outcomes.iter().map(|outcome| outcome.injected).sum();
    assert!(struck > 10_000, "only {struck} faults struck");
    let traces: std::collections::BTreeSet<_> = outcomes.iter().map(|o| o.trace_hash).collect();
    assert!(traces.len() > 990, "only {} of 1000 histories differ", traces.len());
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 0..50 {
        let config = Config {
            seed,
            weights: weights(8, 6, 3, 3),
            faults: Faults::swarm(seed),
            mutant: None,
        };
        assert_eq!(run(config), run(config), "seed {seed}");
    }
}

#[test]
fn every_planted_bug_is_caught() {
    for mutant in Mutant::ALL {
        let caught = (0..1000).find_map(|seed| {
            let weights = weights(8, 6, 3, 3);
            let config =
                Config { seed, weights, faults: Faults::swarm(seed), mutant: Some(*mutant) };
            let first = run(config).violations.into_iter().next();
            first.map(|violation| (seed, violation))
        });
        let caught = caught.unwrap_or_else(|| panic!("{mutant:?} was not noticed in 1000 seeds"));
        println!("{mutant:?}: {caught:?}");
    }
}
