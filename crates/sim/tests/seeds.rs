//! Seeded histories: the four scenarios without faults, and swarms of faults.

use std::collections::BTreeSet;

use dialtone_contract::{OutcomeWeights, ScriptedFaults, TestMix};
use dialtone_sim::{Config, Fault, Outcome, Struck, run};

const fn weights(completed: u32, failed: u32, stuck: u32, dropped: u32) -> OutcomeWeights {
    OutcomeWeights { completed, failed, stuck, dropped }
}

const DEFAULT_MIX: OutcomeWeights = weights(24, 100, 15, 10);

const SWARM_MIX: OutcomeWeights = weights(8, 6, 3, 3);

fn holds(config: Config) -> Outcome {
    let outcome = run(config);
    assert!(outcome.violations.is_empty(), "seed {}: {:#?}", config.seed, outcome.violations);
    outcome
}

fn scenario(weights: OutcomeWeights, attempts: u32, dials: u32) {
    for seed in 0..200 {
        let outcome = holds(Config::calm(seed, weights));
        assert_eq!((outcome.attempts, outcome.dials), (attempts, dials));
        let planned: Vec<_> = TestMix::from(weights).pairs().map(|(_, n)| n).collect();
        assert_eq!(outcome.as_planned.as_slice(), planned);
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

/// Agents that go wrong by script: every entry still ends as planned, with the callbacks
/// applied that its script leads to.
#[test]
fn scripted_faults_are_exact_for_every_seed() {
    let mix = TestMix { weights: SWARM_MIX, faults: ScriptedFaults::each(2) };
    for seed in 0..200 {
        let calm = Config::calm(seed, mix.weights);
        let outcome = holds(Config { scripted: mix.faults, long_calls: seed % 2 == 0, ..calm });
        // Of 32 entries 8 are never claimed, three times.
        assert_eq!((outcome.attempts, outcome.dials), (24 + 8 * 3, 24));
        let planned: Vec<_> = mix.pairs().map(|(_, n)| n).collect();
        assert_eq!(outcome.as_planned.as_slice(), planned);
    }
}

#[test]
fn invariants_hold_when_agents_go_wrong_by_script_and_by_chance() {
    for seed in 0..500 {
        holds(Config { scripted: ScriptedFaults::each(2), ..Config::swarm(seed, SWARM_MIX) });
    }
}

#[test]
fn invariants_hold_under_swarms_of_faults() {
    let mut struck = Struck::new();
    let mut traces = BTreeSet::new();
    let mut stale = 0;
    for seed in 0..1000 {
        let outcome = holds(Config::swarm(seed, SWARM_MIX));
        traces.insert(outcome.trace_hash);
        stale += outcome.stale;
        for (fault, n) in outcome.struck {
            *struck.entry(fault).or_default() += n;
        }
    }
    assert!(traces.len() > 990, "only {} of 1000 histories differ", traces.len());
    assert!(stale > 1_000, "only {stale} changes were overtaken by others");
    for fault in Fault::all().filter(|fault| *fault != Fault::AgentScript) {
        let n = struck.get(&fault).copied().unwrap_or(0);
        assert!(n >= 50, "{fault:?} struck {n} times in 1000 seeds");
    }
}

/// The lines without the batch's id, which no seed decides.
fn nameless(trace: &[String]) -> Vec<String> {
    let id = |word: &str| word.starts_with("call_").then(|| word["call_".len()..].find('_'));
    let word = |word: &str| match id(word).flatten() {
        Some(end) => word["call_".len() + end..].to_owned(),
        None => word.to_owned(),
    };
    trace.iter().map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 0..50 {
        let config = Config { traced: true, ..Config::swarm(seed, SWARM_MIX) };
        let (once, again) = (run(config), run(config));
        assert_eq!(once.trace_hash, again.trace_hash, "seed {seed}");
        assert_eq!((once.events, once.struck), (again.events, again.struck), "seed {seed}");
        assert_eq!(nameless(&once.trace), nameless(&again.trace), "seed {seed}");
    }
}
