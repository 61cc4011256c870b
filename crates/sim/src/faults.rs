use dialtone_clock::rng_for;
use rand::Rng as _;

/// How often each thing goes wrong, in thousandths of its occasions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A dispatch that LiveKit took reaches no worker.
    pub dispatch_lost: u32,
    /// A dispatch that LiveKit took reaches two workers.
    pub dispatch_doubled: u32,
    /// LiveKit refuses a dispatch.
    pub dispatch_refused: u32,
    /// LiveKit takes a dispatch and its answer is lost.
    pub dispatch_unknown: u32,
    /// A request of an agent is lost on the way.
    pub request_lost: u32,
    /// A request of an agent arrives twice.
    pub request_doubled: u32,
    /// The answer to an agent's request is lost.
    pub answer_lost: u32,
    /// A message takes seconds instead of milliseconds.
    pub slow: u32,
    /// An agent dies between two of its steps.
    pub agent_dies: u32,
    /// The server dies around a store call.
    pub crash: u32,
    /// A commit happens and is reported as failed.
    pub commit_unknown: u32,
    /// Dispatchers at work at once, beyond the first.
    pub more_dispatchers: u32,
}

/// Thousandths that an active fault has at most.
const MOST: u32 = 60;

impl Faults {
    /// A swarm: each kind of fault is active in about half of the seeds, each with a
    /// strength of its own. Faults that always come together hide each other.
    pub fn swarm(seed: u64) -> Self {
        let mut rng = rng_for(seed, &[b"swarm"]);
        let mut pick = |most: u32| {
            let active = rng.next_u32().is_multiple_of(2);
            if active { 1 + rng.next_u32() % most } else { 0 }
        };
        Self {
            dispatch_lost: pick(MOST),
            dispatch_doubled: pick(MOST * 4),
            dispatch_refused: pick(MOST),
            dispatch_unknown: pick(MOST),
            request_lost: pick(MOST),
            request_doubled: pick(MOST * 4),
            answer_lost: pick(MOST),
            slow: pick(MOST),
            agent_dies: pick(MOST / 2),
            // Around every store call, of which there are thousands.
            crash: pick(4),
            commit_unknown: pick(10),
            more_dispatchers: pick(2),
        }
    }
}
