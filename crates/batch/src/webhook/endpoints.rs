use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dialtone_contract::limits;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Endpoints remembered at once. One that is forgotten is tried as if it were new.
const KEPT_MAX: usize = 1024;

/// What is known of the endpoints that are being sent to; lost with the process.
#[derive(Default)]
pub(super) struct Endpoints(Mutex<HashMap<String, Arc<Endpoint>>>);

impl Endpoints {
    pub(super) fn get(&self, url: &str) -> Arc<Endpoint> {
        let mut known = self.0.lock().expect("no holder of the lock panics");
        if known.len() >= KEPT_MAX && !known.contains_key(url) {
            known.retain(|_, endpoint| Arc::strong_count(endpoint) > 1);
        }
        Arc::clone(known.entry(url.to_owned()).or_default())
    }
}

/// One endpoint: how many messages may be under way to it, and whether it rests because
/// it did not answer.
pub(super) struct Endpoint {
    pub(super) places: Semaphore,
    rest: Mutex<Rest>,
}

#[derive(Default)]
struct Rest {
    failures: u32,
    until: Option<Instant>,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self { places: Semaphore::new(limits::WEBHOOK_AT_ONCE), rest: Mutex::default() }
    }
}

impl Endpoint {
    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().expect("no holder of the lock panics")
    }

    /// Wall time for which nothing is to be sent.
    pub(super) fn rests_for(&self, now: Instant) -> Option<Duration> {
        self.rest().until?.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// As [`Self::rests_for`], asked by a message that is sent now if nothing is in its way:
    /// when a rest is over one goes through, and the others rest on until it is answered.
    pub(super) fn begin(&self, now: Instant) -> Result<(), Duration> {
        if let Some(left) = self.rests_for(now) {
            return Err(left);
        }
        let mut rest = self.rest();
        rest.until = rest.until.map(|_| now + limits::WEBHOOK_TIMEOUT);
        Ok(())
    }

    pub(super) fn answered(&self) {
        *self.rest() = Rest::default();
    }

    /// It did not take a message. A few in a row let it rest, longer with each more.
    pub(super) fn failed(&self, now: Instant) {
        let mut rest = self.rest();
        rest.failures = rest.failures.saturating_add(1);
        let doublings = rest.failures.saturating_sub(limits::WEBHOOK_FAILURES);
        if rest.failures >= limits::WEBHOOK_FAILURES {
            let pause = limits::WEBHOOK_REST * 2_u32.saturating_pow(doublings.min(16));
            rest.until = Some(now + pause.min(limits::WEBHOOK_REST_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_goes_through_after_each_rest() {
        let (endpoint, mut now) = (Endpoint::default(), Instant::now());
        for _ in 0..limits::WEBHOOK_FAILURES {
            assert_eq!(endpoint.begin(now), Ok(()), "a few failures are no reason yet");
            endpoint.failed(now);
        }
        for _ in 0..20 {
            let left = endpoint.begin(now).expect_err("it rests");
            assert!(left <= limits::WEBHOOK_REST_MAX, "{left:?}");
            now += left;
            assert_eq!(endpoint.rests_for(now), None);
            assert_eq!(endpoint.begin(now), Ok(()), "one goes through");
            assert!(endpoint.begin(now).is_err(), "and only one");
            endpoint.failed(now);
        }
        now += limits::WEBHOOK_REST_MAX;
        assert_eq!(endpoint.begin(now), Ok(()));
        endpoint.answered();
        assert_eq!((endpoint.begin(now), endpoint.begin(now)), (Ok(()), Ok(())));
    }
}
