use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use dialtone_clock::{Clock, TimeScale, Timestamp};

/// Virtual time. Clones show the same time; `skewed` ones are off by what their owner's
/// wall clock has jumped.
#[derive(Clone)]
pub struct SimClock {
    now: Arc<AtomicI64>,
    skew: Arc<AtomicI64>,
}

impl SimClock {
    /// Where a simulation begins: any moment does.
    pub const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    pub fn new() -> Self {
        Self { now: Arc::new(AtomicI64::new(Self::START.as_micros())), skew: Arc::default() }
    }

    /// The same time, seen by a wall clock that jumps.
    pub fn skewed(&self) -> Self {
        Self { now: Arc::clone(&self.now), skew: Arc::default() }
    }

    /// Lets the wall clock jump to `skew_s` seconds off.
    pub fn jump(&self, skew_s: i64) {
        self.skew.store(skew_s * 1_000_000, Ordering::Relaxed);
    }

    /// Moves virtual time to `at`.
    pub fn advance(&self, at: Timestamp) {
        self.now.store(at.as_micros(), Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let skew = self.skew.load(Ordering::Relaxed);
        Timestamp::from_micros(self.now.load(Ordering::Relaxed) + skew)
    }

    fn scale(&self) -> TimeScale {
        TimeScale::REAL
    }
}
