use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dialtone_clock::{Clock as _, Rng, Timestamp, rng_for};
use rand::Rng as _;

use crate::Faults;
use crate::agent::{Answer, Request};
use crate::clock::SimClock;

/// Something that will happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A server looks for work.
    Tick {
        /// Which.
        server: usize,
    },
    /// A dead server comes back.
    Restart {
        /// Which.
        server: usize,
    },
    /// A server learns what LiveKit answered to dispatch number `send`.
    Answered {
        /// Which server.
        server: usize,
        /// Which dispatch of it.
        send: u64,
    },
    /// A job reaches an agent worker.
    Job {
        /// The dispatch's metadata.
        metadata: String,
    },
    /// An agent's own next step falls due.
    Step {
        /// Which agent.
        agent: usize,
        /// At which of its stages; outdated if it has moved on.
        stage: u32,
    },
    /// A request of an agent reaches the API.
    Arrives {
        /// Which agent.
        agent: usize,
        /// The stage that it waits in.
        stage: u32,
        /// What it asks.
        request: Request,
    },
    /// The API's answer reaches the agent.
    Reply {
        /// Which agent.
        agent: usize,
        /// The stage that it was sent for.
        stage: u32,
        /// What it says.
        answer: Answer,
    },
    /// A closed room throws its agents out.
    RoomClosed {
        /// The room.
        room: String,
    },
    /// The faults end; from here on the batch has to come to its end.
    FaultsEnd,
    /// The wall clocks jump.
    ClockJump,
}

struct Scheduled {
    at: Timestamp,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// What all parts of a simulation share: time, chance, and what is going to happen.
#[derive(Clone)]
pub struct World {
    pub clock: SimClock,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    heap: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    rng: Rng,
    faults: Faults,
    injected: u64,
}

impl World {
    pub fn new(seed: u64, faults: Faults) -> Self {
        let inner = Inner {
            heap: BinaryHeap::new(),
            order: 0,
            rng: rng_for(seed, &[b"world"]),
            faults,
            injected: 0,
        };
        Self { clock: SimClock::new(), inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of the lock panics")
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets `event` happen after `delay`.
    pub fn after(&self, delay: Duration, event: Event) {
        self.at(self.now() + delay, event);
    }

    /// Lets `event` happen at `at`.
    pub fn at(&self, at: Timestamp, event: Event) {
        let mut inner = self.inner();
        inner.order += 1;
        let order = inner.order;
        inner.heap.push(Reverse(Scheduled { at, order, event }));
    }

    /// The next event; virtual time has moved to it.
    pub fn next(&self) -> Option<Event> {
        let Reverse(next) = self.inner().heap.pop()?;
        self.clock.advance(next.at.max(self.now()));
        Some(next.event)
    }

    /// A number below `n`.
    pub fn below(&self, n: u64) -> u64 {
        self.inner().rng.next_u64() % n.max(1)
    }

    /// A duration between two.
    pub fn between(&self, from: Duration, to: Duration) -> Duration {
        let span = u64::try_from((to - from).as_micros()).unwrap_or(u64::MAX);
        from + Duration::from_micros(self.below(span + 1))
    }

    /// Whether a fault of this kind strikes now.
    pub fn strikes(&self, kind: impl Fn(&Faults) -> u32) -> bool {
        let mut inner = self.inner();
        let chance = kind(&inner.faults);
        // No draw for a fault that is off: a run without faults is one fixed history.
        let struck = chance > 0 && inner.rng.next_u64() % 1000 < u64::from(chance);
        inner.injected += u64::from(struck);
        struck
    }

    /// How long a message takes.
    pub fn delay(&self) -> Duration {
        if self.strikes(|faults| faults.slow) {
            self.between(Duration::from_secs(1), Duration::from_secs(45))
        } else {
            self.between(Duration::from_millis(1), Duration::from_millis(40))
        }
    }

    /// From now on nothing goes wrong.
    pub fn end_faults(&self) {
        self.inner().faults = Faults::default();
    }

    /// Faults that have struck.
    pub fn injected(&self) -> u64 {
        self.inner().injected
    }
}
