use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use dialtone_clock::{TimeScale, Timestamp, rng_for};
use dialtone_contract::limits;
use rand::Rng as _;

/// How the reason of a running batch begins while LiveKit takes no dispatches.
pub(crate) const NO_DISPATCHES: &str = "livekit: ";

/// The circuit breaker before LiveKit. After some failures in a row it opens, so that a
/// LiveKit that is down does not use up the attempts of every entry: then one dispatch at
/// a time goes through, with growing pauses between, until one is taken.
pub(crate) struct Breaker {
    scale: TimeScale,
    seed: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    failures: u32,
    /// When the next dispatch may go through; `None` while the breaker is closed.
    open_until: Option<Timestamp>,
    /// Whether the latest dispatch was taken; not so before the first.
    taken: bool,
}

impl Breaker {
    /// A closed breaker; `seed` decides the jitter of its pauses.
    pub(crate) fn new(scale: TimeScale, seed: u64) -> Self {
        Self { scale, seed, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }

    /// How many of `wanted` dispatches may go through now.
    pub(crate) fn allows(&self, now: Timestamp, wanted: u32) -> u32 {
        match self.state().open_until {
            None => wanted,
            Some(until) if until <= now => wanted.min(1),
            Some(_) => 0,
        }
    }

    /// A dispatch has gone through: while the breaker is open, none other before the next
    /// pause is over.
    pub(crate) fn passed(&self, now: Timestamp) {
        let mut state = self.state();
        if state.open_until.is_some() {
            state.open_until = Some(now + self.pause(state.failures));
        }
    }

    /// When the next dispatch may go through, if the breaker is open.
    pub(crate) fn open_until(&self) -> Option<Timestamp> {
        self.state().open_until
    }

    /// LiveKit took a dispatch. Whether that closes the breaker.
    pub(crate) fn succeeded(&self) -> bool {
        let closed = State { taken: true, ..State::default() };
        std::mem::replace(&mut *self.state(), closed).open_until.is_some()
    }

    /// Whether LiveKit took the latest dispatch, as far as this process knows.
    pub(crate) fn taken(&self) -> bool {
        self.state().taken
    }

    /// LiveKit did not take a dispatch. Whether that opens the breaker.
    pub(crate) fn failed(&self, now: Timestamp) -> bool {
        let mut state = self.state();
        state.taken = false;
        state.failures = state.failures.saturating_add(1);
        if state.failures < limits::BREAKER_FAILURES {
            return false;
        }
        let opens = state.open_until.is_none();
        state.open_until = Some(now + self.pause(state.failures));
        opens
    }

    /// Product time of the pause after so many failures, longer by up to a half by chance.
    fn pause(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(limits::BREAKER_FAILURES).min(16);
        let pause = (limits::BREAKER_PAUSE * 2_u32.pow(doublings)).min(limits::BREAKER_PAUSE_MAX);
        let chance = rng_for(self.seed, &[b"breaker", &failures.to_le_bytes()]).next_u32();
        let jitter = 1.0 + f64::from(chance) / f64::from(u32::MAX) / 2.0;
        self.scale.product(pause.mul_f64(jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_some_failures_and_closes_with_one_success() {
        let breaker = Breaker::new(TimeScale::REAL, 1);
        let mut now = Timestamp::from_micros(0);
        for _ in 1..limits::BREAKER_FAILURES {
            assert!(!breaker.failed(now));
            assert_eq!(breaker.allows(now, 16), 16);
        }
        assert!(breaker.failed(now), "the failure that opens it is told apart");
        for _ in 0..10 {
            assert_eq!(breaker.allows(now, 16), 0);
            let until = breaker.open_until().expect("open");
            assert!(until.since(now) >= limits::BREAKER_PAUSE);
            assert!(until.since(now) <= limits::BREAKER_PAUSE_MAX.mul_f64(1.5));
            now = until;
            assert_eq!(breaker.allows(now, 16), 1, "one goes through after the pause");
            breaker.passed(now);
            assert_eq!(breaker.allows(now, 16), 0, "and only one");
            assert!(!breaker.failed(now));
        }
        assert!(!breaker.taken());
        assert!(breaker.succeeded() && breaker.taken());
        assert_eq!(breaker.allows(now, 16), 16);
        assert!(!breaker.succeeded());
    }
}
