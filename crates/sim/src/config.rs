use std::time::Duration;

use dialtone_clock::rng_for;
use dialtone_contract::wire::{BatchOptions, Durations, OutcomeMode, SpanS, TestBatchRequest};
use dialtone_contract::{OutcomeWeights, PlannedOutcome, ScriptedFaults, TestMix};
use rand::Rng as _;

use crate::faults::{Fault, Selection, Struck};
use crate::{Faults, Mutant, Orders, Policy};

/// One simulation.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Decides everything.
    pub seed: u64,
    /// The batch's plan.
    pub weights: OutcomeWeights,
    /// What agents do wrong by plan.
    pub scripted: ScriptedFaults,
    /// What goes wrong.
    pub faults: Faults,
    /// Whether calls may be longer than a heartbeat lease.
    pub long_calls: bool,
    /// Whether a failed call is tried again, although the callee may have been reached.
    pub redial_after_contact: bool,
    /// Calls at once.
    pub max_concurrent: u32,
    /// What users order while the batch runs.
    pub orders: Orders,
    /// What else the batch's options say.
    pub policy: Policy,
    /// The bug that is planted.
    pub mutant: Option<Mutant>,
    /// Whether to keep a line for each thing that happens.
    pub traced: bool,
}

impl Config {
    /// Nothing goes wrong.
    pub fn calm(seed: u64, weights: OutcomeWeights) -> Self {
        Self {
            seed,
            weights,
            scripted: ScriptedFaults::default(),
            faults: Faults::default(),
            long_calls: false,
            redial_after_contact: false,
            max_concurrent: BatchOptions::default().max_concurrent,
            orders: Orders::default(),
            policy: Policy::default(),
            mutant: None,
            traced: false,
        }
    }

    /// Faults and options that the seed draws.
    pub fn swarm(seed: u64, weights: OutcomeWeights) -> Self {
        let mut rng = rng_for(seed, &[b"options"]);
        let mut one_in = |n: u32| rng.next_u32().is_multiple_of(n);
        Self {
            faults: Faults::swarm(seed),
            orders: Orders::swarm(seed),
            long_calls: one_in(2),
            redial_after_contact: one_in(2),
            max_concurrent: if one_in(3) { 4 } else { BatchOptions::default().max_concurrent },
            policy: Policy::swarm(seed),
            ..Self::calm(seed, weights)
        }
    }

    /// A swarm of so many entries in which the selected faults alone may strike. In one of
    /// four seeds agents go wrong by script, too, if there are entries enough.
    pub fn selected(seed: u64, entries: u32, selection: &Selection) -> Self {
        let script = ScriptedFaults::each(1);
        let scripted = u32::try_from(script.total()).unwrap_or(u32::MAX);
        let is_scripted = seed % 4 == 3 && entries > scripted && selection.has(Fault::AgentScript);
        let plain = if is_scripted { entries - scripted } else { entries };
        let swarm = Self::swarm(seed, mix(plain));
        Self {
            faults: swarm.faults.only(selection),
            orders: swarm.orders.only(selection),
            scripted: if is_scripted { script } else { swarm.scripted },
            ..swarm
        }
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.faults == Faults::default() && self.policy == Policy::default()
    }

    pub(crate) fn request(&self) -> TestBatchRequest {
        let Self { seed, weights, scripted, .. } = *self;
        let span = |min_s, max_s| SpanS { min_s, max_s };
        let long = Durations { completed: span(15.0, 150.0), failed: span(5.0, 45.0) };
        TestBatchRequest {
            voice_id: "demo".to_owned(),
            initiated_by: 1,
            agent_id: None,
            from_number: None,
            total: u32::try_from(TestMix { weights, faults: scripted }.total())
                .expect("a simulated batch is small"),
            fail_count: Some(weights.failed),
            stuck_count: Some(weights.stuck),
            dropped_count: Some(weights.dropped),
            faults: scripted,
            seed: Some(seed),
            outcomes: OutcomeMode::Exact,
            durations: if self.long_calls { long } else { Durations::default() },
            options: self.policy.complete(BatchOptions {
                redial_after_contact: self.redial_after_contact,
                max_concurrent: self.max_concurrent,
                ..BatchOptions::default()
            }),
        }
    }
}

/// A mix of outcomes in which every one stands, where there are entries enough.
fn mix(entries: u32) -> OutcomeWeights {
    let (failed, stuck, dropped) = (entries * 3 / 10, entries * 3 / 20, entries * 3 / 20);
    OutcomeWeights { completed: entries - failed - stuck - dropped, failed, stuck, dropped }
}

/// What came of a simulation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What must not have happened.
    pub violations: Vec<String>,
    /// Hash of the batch's event stream; the same seed gives the same.
    pub trace_hash: u64,
    /// Simulation events.
    pub events: u64,
    /// Faults that struck.
    pub struck: Struck,
    /// Changes that came too late, because others came between decision and change.
    pub stale: u64,
    /// Virtual time from trigger to end.
    pub simulated: Duration,
    /// Attempts begun.
    pub attempts: u32,
    /// Dial claims won.
    pub dials: u32,
    /// Entries that ended as planned, in the order of their plans.
    pub as_planned: [u32; PlannedOutcome::ALL.len()],
    /// What happened, line by line, if it was to be kept.
    pub trace: Vec<String>,
}
