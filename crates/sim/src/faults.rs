use std::collections::BTreeMap;

use dialtone_clock::rng_for;
use rand::Rng as _;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A dispatch that LiveKit took reaches no worker.
    DispatchLost,
    /// A dispatch that LiveKit took reaches two workers.
    DispatchDoubled,
    /// A dispatch does not reach LiveKit.
    DispatchNotSent,
    /// LiveKit refuses a dispatch.
    DispatchRefused,
    /// LiveKit takes a dispatch and its answer is lost.
    DispatchUnknown,
    /// LiveKit does not close a room, or does and its answer is lost.
    RoomNotClosed,
    /// A request of an agent is lost on the way.
    RequestLost,
    /// A heartbeat is lost on the way: nobody sends it again.
    BeatLost,
    /// A request of an agent arrives twice.
    RequestDoubled,
    /// The answer to a request is lost.
    AnswerLost,
    /// A message takes seconds instead of milliseconds.
    Slow,
    /// An agent dies between two of its steps.
    AgentDies,
    /// An agent's host loses its network while the callee still hears it.
    AgentCutOff,
    /// A server dies between two of its steps.
    Crash,
    /// A server is told to stop, and stops in order, with leases at hand.
    Drain,
    /// A step of a server takes seconds: a slow disk, a paused process.
    Stall,
    /// For a minute or two the store is so busy that calls wait for seconds.
    Brownout,
    /// The store does not take a call.
    Unavailable,
    /// A commit happens and is reported as failed.
    CommitUnknown,
    /// The servers' wall clocks jump by an hour.
    ClockJump,
}

impl Fault {
    /// All of them, with the most ten-thousandths of its occasions that each strikes in.
    const ALL: [(Self, u32); 20] = [
        (Self::DispatchLost, 600),
        (Self::DispatchDoubled, 2400),
        (Self::DispatchNotSent, 600),
        (Self::DispatchRefused, 600),
        (Self::DispatchUnknown, 600),
        (Self::RoomNotClosed, 3000),
        (Self::RequestLost, 600),
        (Self::BeatLost, 6000),
        (Self::RequestDoubled, 2400),
        (Self::AnswerLost, 600),
        (Self::Slow, 1000),
        (Self::AgentDies, 300),
        (Self::AgentCutOff, 300),
        // Between any two of the steps of a store call, of which there are thousands.
        (Self::Crash, 10),
        (Self::Drain, 400),
        (Self::Stall, 40),
        (Self::Brownout, 10_000),
        (Self::Unavailable, 60),
        (Self::CommitUnknown, 100),
        (Self::ClockJump, 10_000),
    ];

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().map(|(fault, _)| fault)
    }
}

/// How often each thing goes wrong, in ten-thousandths of its occasions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    chances: [u32; Fault::ALL.len()],
    /// Servers at work at once, beyond the first.
    pub more_servers: u32,
}

impl Faults {
    /// A swarm: each kind of fault is active in about half of the seeds, each with a
    /// strength of its own. Faults that always come together hide each other.
    pub fn swarm(seed: u64) -> Self {
        let mut rng = rng_for(seed, &[b"swarm"]);
        let mut pick = |most: u32| {
            let active = rng.next_u32().is_multiple_of(2);
            if active { 1 + rng.next_u32() % most } else { 0 }
        };
        Self { chances: Fault::ALL.map(|(_, most)| pick(most)), more_servers: pick(2) }
    }

    pub(crate) fn chance(&self, fault: Fault) -> u32 {
        self.chances[fault as usize]
    }

    /// Nothing goes wrong any more; what is running keeps running.
    pub(crate) fn end(&mut self) {
        self.chances = [0; Fault::ALL.len()];
    }
}

/// Faults that struck, by kind.
pub type Struck = BTreeMap<Fault, u64>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_place() {
        for (place, (fault, _)) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, place, "{fault:?}");
        }
    }
}
