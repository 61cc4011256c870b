//! Spans in which a service of the stack was away on purpose, and what they excuse.

use std::time::Duration;

use dialtone_clock::Timestamp;
use dialtone_contract::wire::AttemptView;

use crate::drill::Victim;

/// A service was killed and came back. Times are product times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Who was killed.
    pub victim: Victim,
    /// When the jobs that workers had taken were last counted.
    pub counted: Timestamp,
    /// Before the signal left.
    pub from: Timestamp,
    /// When the service could take work again.
    pub until: Timestamp,
}

/// All of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outages {
    spans: Vec<Outage>,
    /// The longest that an attempt whose dispatch was never answered can have been under way.
    lease: Duration,
}

impl Outages {
    /// These, where a lease lasts so long in product time.
    pub fn new(spans: Vec<Outage>, lease: Duration) -> Self {
        Self { spans, lease }
    }

    /// Whether a service was away while the attempt was under way, or while an agent held its
    /// dial if one ever did. What became of it may be the outage's doing: its deadline, its
    /// agent's silence or LiveKit's refusal.
    pub fn excuse(&self, attempt: &AttemptView) -> bool {
        let Some(ended) = attempt.ended_at else { return false };
        let began = attempt.claimed_at.or(attempt.dispatched_at);
        let began = began.unwrap_or_else(|| ended - self.lease);
        self.spans.iter().any(|outage| began <= outage.until && ended >= outage.from)
    }

    /// Whether its job may be in no count: what a worker took after the last look is forgotten
    /// when it or its LiveKit is killed. Whoever claimed the dial had taken the job before.
    pub fn forgot(&self, attempt: &AttemptView) -> bool {
        let (Some(dispatched), Some(ended)) = (attempt.dispatched_at, attempt.ended_at) else {
            return false;
        };
        self.spans.iter().filter(|outage| outage.victim != Victim::Dialtone).any(|outage| {
            let counted = attempt.claimed_at.is_some_and(|claimed| claimed < outage.counted);
            dispatched <= outage.until && ended >= outage.counted && !counted
        })
    }
}

#[cfg(test)]
mod tests {
    use dialtone_contract::{CallId, CallState};

    use super::*;

    fn outage(victim: Victim) -> Outage {
        Outage { victim, counted: at(98), from: at(100), until: at(110) }
    }

    const fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn attempt(dispatched: Option<i64>, claimed: Option<i64>, ended: Option<i64>) -> AttemptView {
        AttemptView {
            call_id: CallId::new("bat_1-e1-a1"),
            attempt: 1,
            state: CallState::Failed,
            room: String::new(),
            dispatch_id: None,
            dispatched_at: dispatched.map(at),
            claimed_at: claimed.map(at),
            ended_at: ended.map(at),
            reason: None,
        }
    }

    #[test]
    fn an_outage_excuses_what_was_under_way_and_nothing_else() {
        let outage = outage(Victim::TestWorker);
        let outages = Outages::new(vec![outage], Duration::from_secs(10));
        for (dispatched, ended, excused) in [
            (Some(90), Some(99), false),
            (Some(90), Some(100), true),
            (Some(90), Some(140), true),
            (Some(110), Some(140), true),
            (Some(111), Some(140), false),
            (None, Some(120), true),
            (None, Some(121), false),
        ] {
            let seen = outages.excuse(&attempt(dispatched, None, ended));
            assert_eq!(seen, excused, "{dispatched:?} to {ended:?}");
        }
        assert!(!Outages::default().excuse(&attempt(Some(90), None, Some(140))));
    }

    #[test]
    fn a_call_that_began_after_the_outage_is_not_excused() {
        let outage = outage(Victim::Dialtone);
        let outages = Outages::new(vec![outage], Duration::from_secs(10));
        assert!(outages.excuse(&attempt(Some(90), Some(95), Some(130))));
        assert!(!outages.excuse(&attempt(Some(90), Some(111), Some(130))));
        assert!(!outages.excuse(&attempt(Some(90), Some(95), Some(99))));
    }

    #[test]
    fn a_kill_forgets_the_jobs_that_were_taken_since_they_were_counted() {
        let forgot = |victim, dispatched, claimed, ended| {
            let outages = Outages::new(vec![outage(victim)], Duration::from_secs(10));
            outages.forgot(&attempt(dispatched, claimed, ended))
        };
        let livekit = Victim::LivekitDev;
        assert!(forgot(livekit, Some(90), None, Some(130)), "perhaps taken after the count");
        assert!(!forgot(livekit, Some(90), Some(97), Some(130)), "claimed, so taken before it");
        assert!(forgot(livekit, Some(90), Some(98), Some(130)));
        assert!(forgot(livekit, Some(98), Some(99), Some(99)), "over before the signal left");
        assert!(!forgot(livekit, Some(90), None, Some(97)), "over before the count");
        assert!(!forgot(livekit, Some(111), None, Some(130)), "dispatched after the return");
        assert!(!forgot(Victim::Dialtone, Some(90), None, Some(130)), "it counts no jobs");
    }
}
