//! A batch's breaker: whether so many of its latest attempts failed for reasons of the
//! platform's own that it had better pause.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use dialtone_clock::Timestamp;
use dialtone_contract::wire::BreakerRule;
use dialtone_contract::{BatchId, BatchState, CallId, EntryKey, EntryState, Outcome, limits};
use dialtone_store::EventRow;

/// How the reason of a batch begins that its breaker has paused.
pub const PAUSED_BY_BREAKER: &str = "breaker: ";

/// The latest attempts of a batch that have ended, from its events.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    attempts: VecDeque<Attempt>,
    /// Place of the last event that was taken in.
    event_seq: u64,
    /// When the batch was paused last.
    paused_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    at: Timestamp,
    seq: u32,
    attempt: u32,
    outcome: Outcome,
}

/// Why a batch pauses.
#[derive(Clone, Debug, PartialEq)]
pub struct Trip {
    /// Attempts that failed.
    pub failed: u32,
    /// Of so many that ended within the window.
    pub ended: u32,
    /// Seconds of the window.
    pub window_s: u32,
    /// The latest of those that failed, newest first.
    pub evidence: Vec<(CallId, Outcome)>,
}

impl fmt::Display for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { failed, ended, window_s, .. } = self;
        write!(f, "{PAUSED_BY_BREAKER}{failed} of {ended} attempts failed within {window_s} s:")?;
        for (n, (call, outcome)) in self.evidence.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma} {call} {outcome}")?;
        }
        Ok(())
    }
}

impl Ended {
    /// Nothing, from the event at `event_seq` on.
    pub fn since(event_seq: u64) -> Self {
        Self { event_seq, ..Self::default() }
    }

    /// Place of the last event that was taken in.
    pub fn event_seq(&self) -> u64 {
        self.event_seq
    }

    /// When the batch, which is paused, was paused: as an event that was taken in says, or
    /// else `now`, from now on. The event may be too far back to be read again.
    pub fn paused_at(&mut self, now: Timestamp) -> Timestamp {
        *self.paused_at.get_or_insert(now)
    }

    /// Takes in the batch's next event. What ended before a pause says nothing of the time
    /// after it.
    pub fn take(&mut self, event: &EventRow) {
        self.event_seq = event.event_seq;
        let (Some(seq), Some(attempt)) = (event.seq, event.attempt) else {
            let paused = BatchState::Paused.as_str();
            if event.from != event.to && event.from == paused {
                self.attempts.clear();
            } else if event.from != event.to && event.to == paused {
                self.paused_at = Some(event.at);
            }
            return;
        };
        let was_in_flight = event.from.parse().is_ok_and(EntryState::is_in_flight);
        let is_in_flight = event.to.parse().is_ok_and(EntryState::is_in_flight);
        let Some(outcome) = event.outcome.filter(|_| was_in_flight && !is_in_flight) else {
            return;
        };
        if outcome != Outcome::Cancelled {
            self.attempts.push_back(Attempt { at: event.at, seq, attempt, outcome });
        }
        if self.attempts.len() > limits::BREAKER_ATTEMPTS_MAX as usize {
            self.attempts.pop_front();
        }
    }

    /// Whether the batch had better pause at `now`, and why.
    pub fn trip(&mut self, batch: &BatchId, rule: &BreakerRule, now: Timestamp) -> Option<Trip> {
        let from = now - Duration::from_secs(rule.window_s.into());
        // Events stand in the order of their commits, which a slow store can turn round.
        self.attempts.retain(|attempt| attempt.at >= from);
        let counts = |attempt: &&Attempt| rule.outcomes.contains(&attempt.outcome);
        let ended = u32::try_from(self.attempts.len()).unwrap_or(u32::MAX);
        if !rule.enabled || ended < rule.min_attempts {
            return None;
        }
        let failed = self.attempts.iter().filter(counts).count();
        let failed = u32::try_from(failed).unwrap_or(u32::MAX);
        if failed == 0 || f64::from(failed) < rule.failure_rate * f64::from(ended) {
            return None;
        }
        let call = |attempt: &Attempt| {
            let key = EntryKey { batch: batch.clone(), seq: attempt.seq };
            (key.call_id(attempt.attempt), attempt.outcome)
        };
        let latest = self.attempts.iter().rev().filter(counts);
        let evidence = latest.take(limits::BREAKER_EVIDENCE_MAX).map(call).collect();
        Some(Trip { failed, ended, window_s: rule.window_s, evidence })
    }
}

/// When a batch that its breaker paused at `paused_at` resumes by itself, if it does.
pub fn resumes_at(rule: &BreakerRule, paused_at: Timestamp) -> Option<Timestamp> {
    let after = Duration::from_secs(rule.resume_after_s.into());
    (rule.resume_after_s > 0).then(|| paused_at + after)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn batch() -> BatchId {
        BatchId::from_token("a")
    }

    fn event(event_seq: u64, outcome: Outcome, at_s: u64) -> EventRow {
        EventRow {
            event_seq,
            kind: "entry.unclaimed_timed_out".to_owned(),
            seq: Some(u32::try_from(event_seq).expect("small")),
            attempt: Some(2),
            from: EntryState::Dispatched.as_str().to_owned(),
            to: EntryState::RetryWait.as_str().to_owned(),
            from_outcome: None,
            outcome: Some(outcome),
            reason: None,
            at: START + Duration::from_secs(at_s),
        }
    }

    fn rule() -> BreakerRule {
        BreakerRule { window_s: 100, min_attempts: 4, failure_rate: 0.5, ..Default::default() }
    }

    fn trip(events: &[EventRow], at_s: u64) -> Option<Trip> {
        let mut ended = Ended::default();
        events.iter().for_each(|event| ended.take(event));
        ended.trip(&batch(), &rule(), START + Duration::from_secs(at_s))
    }

    #[test]
    fn it_trips_at_the_rate_and_names_the_calls() {
        use Outcome::{Completed, DispatchFailed, NoAnswer, TimeoutUnclaimed};
        let outcomes = [DispatchFailed, Completed, NoAnswer, TimeoutUnclaimed];
        let events: Vec<_> = (1..).zip(outcomes).map(|(n, outcome)| event(n, outcome, n)).collect();
        assert_eq!(trip(&events[..3], 10), None, "too few have ended");
        let found = trip(&events, 10).expect("two of four");
        assert_eq!((found.failed, found.ended), (2, 4));
        let text = found.to_string();
        assert!(text.starts_with("breaker: 2 of 4 attempts failed within 100 s: "), "{text}");
        assert!(text.ends_with("dispatch_failed") && text.contains("timeout_unclaimed,"), "{text}");
        assert_eq!(trip(&events, 102), None, "the first has left the window");
    }

    #[test]
    fn what_the_callee_did_never_trips_it() {
        let outcomes = [Outcome::NoAnswer, Outcome::Busy, Outcome::Failed, Outcome::Voicemail];
        let events: Vec<_> =
            (1..200).map(|n| event(n, outcomes[n as usize % outcomes.len()], 1)).collect();
        assert_eq!(trip(&events, 2), None);
    }

    #[test]
    fn what_ended_before_a_pause_is_forgotten() {
        let mut events: Vec<_> = (1..=6).map(|n| event(n, Outcome::AgentError, 1)).collect();
        assert!(trip(&events, 2).is_some());
        let resumed = EventRow {
            kind: "batch.running".to_owned(),
            seq: None,
            attempt: None,
            from: BatchState::Paused.as_str().to_owned(),
            to: BatchState::Running.as_str().to_owned(),
            outcome: None,
            ..event(7, Outcome::AgentError, 1)
        };
        events.push(resumed);
        assert_eq!(trip(&events, 2), None);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_recount(
            steps in proptest::collection::vec((0..40_u64, 0..Outcome::ALL.len()), 0..80),
        ) {
            let (mut ended, mut all, mut at_s) = (Ended::default(), Vec::new(), 0);
            for (n, (pause_s, outcome)) in (1..).zip(steps) {
                at_s += pause_s;
                let event = event(n, Outcome::ALL[outcome], at_s);
                ended.take(&event);
                all.push(event);
                let now = START + Duration::from_secs(at_s);
                let within = |event: &&EventRow| {
                    now.since(event.at) <= Duration::from_secs(100)
                        && event.outcome != Some(Outcome::Cancelled)
                };
                let counted = all.iter().filter(within).count();
                let failed = all.iter().filter(within).filter(|event| {
                    event.outcome.is_some_and(|outcome| rule().outcomes.contains(&outcome))
                }).count();
                let expected = counted >= 4 && failed * 2 >= counted;
                let found = ended.trip(&batch(), &rule(), now);
                prop_assert_eq!(found.is_some(), expected, "{} of {}", failed, counted);
                if let Some(found) = found {
                    prop_assert_eq!((found.failed as usize, found.ended as usize), (failed, counted));
                    prop_assert_eq!(found.evidence.len(), failed.min(20));
                }
            }
        }
    }

    #[test]
    fn what_ended_before_the_window_does_not_count_wherever_its_event_stands() {
        let ended_at = [150, 10, 11, 12];
        let events = (1..).zip(ended_at).map(|(n, at)| event(n, Outcome::TimeoutUnclaimed, at));
        let events: Vec<_> = events.collect();
        assert!(trip(&events, 109).is_some(), "all four ended within the window");
        assert_eq!(trip(&events, 160), None);
    }
}
