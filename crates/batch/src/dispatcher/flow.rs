//! How many entries are leased ahead of the dispatches that are under way.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dialtone_contract::limits;

/// Wall time that a leased entry may wait for its turn: what a commit costs on a busy disk,
/// and far less than a lease.
const AHEAD: Duration = Duration::from_millis(20);

/// Leased entries whose dispatch has not been recorded, and how long dispatches take.
///
/// A claim costs a commit however many entries it leases; so the faster LiveKit answers,
/// the more are leased at once.
#[derive(Default)]
pub(super) struct Flow {
    under_way: AtomicUsize,
    /// Moving average of a dispatch's wall time, in microseconds; 0 before the first.
    takes_us: AtomicU64,
}

impl Flow {
    /// Entries that may be leased now; 0 until so many that a claim is worth its commit.
    pub(super) fn room(&self) -> u32 {
        let most = self.most();
        let under_way = self.under_way.load(Ordering::Acquire);
        let free = most.saturating_sub(under_way);
        let worth = under_way < limits::DISPATCHES_AT_ONCE || free >= most / 2;
        if worth { u32::try_from(free).unwrap_or(u32::MAX) } else { 0 }
    }

    /// Entries under way at once.
    fn most(&self) -> usize {
        let at_once = limits::DISPATCHES_AT_ONCE;
        let Some(each) = Some(self.takes_us.load(Ordering::Relaxed)).filter(|us| *us > 0) else {
            return at_once;
        };
        let rounds = AHEAD.as_micros() / u128::from(each);
        let ahead = usize::try_from(rounds).unwrap_or(usize::MAX).saturating_mul(at_once);
        ahead.clamp(at_once, limits::CLAIM_MAX as usize)
    }

    /// Entries have been leased.
    pub(super) fn began(&self, n: usize) {
        self.under_way.fetch_add(n, Ordering::AcqRel);
    }

    /// A dispatch has been recorded; whether there is room for a claim now.
    pub(super) fn ended(&self) -> bool {
        self.under_way.fetch_sub(1, Ordering::AcqRel);
        self.room() > 0
    }

    /// LiveKit has answered a dispatch after `took`.
    pub(super) fn took(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let before = self.takes_us.load(Ordering::Relaxed);
        // Slowness counts at once, speed only in time.
        let now = if took >= before { took } else { (before * 15 + took) / 16 };
        self.takes_us.store(now.max(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_livekit_gets_more_at_once_and_a_slow_one_no_more_than_its_connections() {
        let flow = Flow::default();
        let at_once = u32::try_from(limits::DISPATCHES_AT_ONCE).expect("few");
        assert_eq!(flow.room(), at_once, "nothing is known of LiveKit yet");
        flow.took(Duration::from_micros(500));
        assert_eq!(flow.room(), limits::CLAIM_MAX);
        flow.took(Duration::from_millis(10));
        assert_eq!(flow.room(), 2 * at_once);
        flow.took(Duration::from_secs(2));
        assert_eq!(flow.room(), at_once);
        for _ in 0..200 {
            flow.took(Duration::from_micros(500));
        }
        assert_eq!(flow.room(), limits::CLAIM_MAX, "what was slow may be fast again");
    }

    #[test]
    fn a_claim_waits_until_it_is_worth_its_commit() {
        let flow = Flow::default();
        flow.took(Duration::from_micros(500));
        flow.began(500);
        assert_eq!(flow.room(), 0);
        for _ in 0..249 {
            assert!(!flow.ended());
        }
        assert!(flow.ended(), "half of them are done");
        assert_eq!(flow.room(), 250);
    }
}
