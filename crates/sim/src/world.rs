use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use dialtone_clock::{Clock as _, Rng, Timestamp, rng_for};
use dialtone_contract::BatchId;
use rand::Rng as _;

use crate::agent::{Answer, Request};
use crate::clock::SimClock;
use crate::faults::{Fault, Faults, Struck};
use crate::orders::Order;
use crate::task::{Owner, TaskFuture};

/// Something that will happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A task goes on.
    Wake(Waker),
    /// A server comes up, for the first time or again.
    Start { server: usize },
    /// The client asks for its batch, for the first time or again.
    Trigger,
    /// The client learns what became of its batch, or why there is none.
    Triggered { batch: Result<BatchId, String> },
    /// A user gives an order, for the first time or again.
    Order { order: Order },
    /// A job reaches an agent worker.
    Job { metadata: String },
    /// An agent's own next step falls due; outdated if it has left that stage.
    Step { agent: usize, stage: u32 },
    /// A request of an agent reaches the API; `stage` is the one that it waits in, `place` its
    /// place in what the agent has sent.
    Arrives { agent: usize, stage: u32, place: u32, request: Request },
    /// The API's answer reaches the agent.
    Reply { agent: usize, stage: u32, request: Request, answer: Answer },
    /// A closed room throws its agents out.
    RoomClosed { room: String },
    /// A number is suppressed.
    Suppress,
    /// The faults end; from here on the batch has to come to its end.
    FaultsEnd,
    /// It is time for a fault that is not of one moment, if that shall happen.
    Weather,
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
    faults: Faults,
    /// Nothing goes wrong any more.
    over: Arc<AtomicBool>,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    heap: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    rng: Rng,
    struck: Struck,
    spawned: Vec<(Owner, TaskFuture)>,
    trace: Option<Vec<String>>,
    /// Until when the store is too busy.
    brownout: Timestamp,
}

impl World {
    pub fn new(seed: u64, faults: Faults, traced: bool) -> Self {
        let inner = Inner {
            heap: BinaryHeap::new(),
            order: 0,
            rng: rng_for(seed, &[b"world"]),
            struck: Struck::new(),
            spawned: Vec::new(),
            trace: traced.then(Vec::new),
            brownout: Timestamp::default(),
        };
        let (over, inner) = (Arc::default(), Arc::new(Mutex::new(inner)));
        Self { clock: SimClock::new(), faults, over, inner }
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

    /// Starts a task on a server; it dies with the server.
    pub fn spawn(&self, owner: Owner, task: impl Future<Output = ()> + Send + 'static) {
        self.inner().spawned.push((owner, Box::pin(task)));
    }

    /// Tasks that were spawned since the last call.
    pub fn spawned(&self) -> Vec<(Owner, TaskFuture)> {
        std::mem::take(&mut self.inner().spawned)
    }

    /// Waits in virtual time.
    pub fn sleep(&self, delay: Duration) -> Sleep<'_> {
        Sleep { world: self, at: self.now() + delay, asked: false }
    }

    /// Waits for as long as one step of a busy process takes, so that whatever else is
    /// under way can come in between.
    pub fn step(&self) -> Sleep<'_> {
        let us = Duration::from_micros;
        let browned_out = self.now() < self.inner().brownout;
        let delay = if browned_out && self.below(8) == 0 {
            self.between(us(0), us(25_000_000))
        } else if self.strikes(Fault::Stall) {
            self.between(us(500_000), us(40_000_000))
        } else {
            let drawn = self.below(1 << 32);
            let most = if drawn.is_multiple_of(32) { 50_000 } else { 1_500 };
            us(20 + (drawn >> 5) % most)
        };
        self.sleep(delay)
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

    /// Whether this fault strikes now.
    pub fn strikes(&self, fault: Fault) -> bool {
        let chance = self.faults.chance(fault);
        // No draw for a fault that is off: what strikes does not shift what else does.
        if chance == 0 || self.over.load(Ordering::Relaxed) {
            return false;
        }
        let mut inner = self.inner();
        let struck = inner.rng.next_u64() % 10_000 < u64::from(chance);
        if struck {
            *inner.struck.entry(fault).or_default() += 1;
        }
        struck
    }

    /// A fault that does not strike by chance has been seen.
    pub fn saw(&self, fault: Fault) {
        *self.inner().struck.entry(fault).or_default() += 1;
    }

    /// How long a message takes.
    pub fn delay(&self) -> Duration {
        if self.strikes(Fault::Slow) {
            self.between(Duration::from_secs(1), Duration::from_secs(45))
        } else {
            self.between(Duration::from_millis(1), Duration::from_millis(40))
        }
    }

    /// From now on the store is too busy, for a while.
    pub fn brown_out(&self) {
        let until = self.now() + self.between(Duration::from_secs(30), Duration::from_secs(90));
        self.note(|| "the store is too busy".to_owned());
        self.inner().brownout = until;
    }

    /// From now on nothing goes wrong.
    pub fn end_faults(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.inner().brownout = Timestamp::default();
    }

    /// Faults that have struck.
    pub fn struck(&self) -> Struck {
        self.inner().struck.clone()
    }

    /// Keeps a line for whoever has to understand what happened.
    pub fn note(&self, line: impl FnOnce() -> String) {
        let now = self.now();
        if let Some(trace) = &mut self.inner().trace {
            let s = now.since(SimClock::START).as_secs_f64();
            trace.push(format!("{s:12.6} {}", line()));
        }
    }

    /// The lines kept, if any were to be.
    pub fn trace(&self) -> Vec<String> {
        self.inner().trace.take().unwrap_or_default()
    }
}

/// A wait in virtual time.
pub struct Sleep<'a> {
    world: &'a World,
    at: Timestamp,
    asked: bool,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.world.now() >= self.at {
            return Poll::Ready(());
        }
        // A sleep stays in the task that polled it first, so its first waker will do.
        if !std::mem::replace(&mut self.asked, true) {
            self.world.at(self.at, Event::Wake(cx.waker().clone()));
        }
        Poll::Pending
    }
}
