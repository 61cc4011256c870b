use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use dialtone_auth::NumberKey;
use dialtone_clock::Timestamp;
use dialtone_contract::{BatchState, EntryState, Outcome};
use dialtone_store::{BatchRow, BatchTransition, ClaimDue, EntryRow, Transition};

use crate::policy::Policy;

/// Time by which a call may begin before the rate has earned it.
const SLACK: Duration = Duration::from_millis(20);

/// Time that a server may take to notice that a breaker has tripped: it may be down, and
/// its store slow.
const TRIP_WITHIN: Duration = Duration::from_secs(120);

/// What a batch's options promise, held against every claim and every retry, and reckoned
/// anew here: no line of the rules that are tested is used.
pub struct Bounds {
    policy: Policy,
    leased: Vec<Timestamp>,
    /// Since when the rate has grown: the earliest that a claim went by.
    start: Option<Timestamp>,
    suppressed: BTreeSet<NumberKey>,
    /// Attempts that ended of late, and whether they failed in the breaker's sense.
    ended: VecDeque<(Timestamp, bool)>,
    /// Since when the breaker has had to trip.
    tripping: Option<Timestamp>,
}

impl Bounds {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            leased: Vec::new(),
            start: None,
            suppressed: BTreeSet::new(),
            ended: VecDeque::new(),
            tripping: None,
        }
    }

    /// A number may not be called any more.
    pub fn suppress(&mut self, number: NumberKey) {
        self.suppressed.insert(number);
    }

    /// Entries have been leased from the batch, which stood like this before.
    pub fn leased(
        &mut self,
        before: &BatchRow,
        leased: &[EntryRow],
        claim: &ClaimDue,
    ) -> Vec<String> {
        // Windows and pace are judged by the moment at which the claim was decided.
        let now = claim.now;
        let mut found = Vec::new();
        for entry in leased {
            let call = entry.key.call_id(entry.attempt);
            if self.suppressed.contains(&entry.number) {
                found.push(format!("{call} was leased at {now}, and its number is suppressed"));
            }
            if self.policy.gap.is_some_and(|gap| gap.is_closed(entry.timezone.as_deref(), now)) {
                found.push(format!("{call} was leased at {now}, outside its window"));
            }
        }
        let in_flight = before.count(EntryState::is_in_flight);
        let wave = self.policy.wave_size as usize;
        let ended = before
            .claimed_at
            .is_none_or(|at| in_flight == 0 || now >= at + Duration::from_secs(20 * 60));
        if wave > 0 && !leased.is_empty() && (leased.len() > wave || !ended) {
            found.push(format!("a wave of {} began beside {in_flight} calls", leased.len()));
        }
        if let Some(since) =
            self.tripping.filter(|at| !leased.is_empty() && *at + TRIP_WITHIN < now)
        {
            found.push(format!("the breaker had to trip at {since}, and calls began at {now}"));
        }
        self.leased.extend(leased.iter().map(|_| now));
        if !leased.is_empty() {
            // A claim may come before the batch is marked as started; the ramp is then one
            // that began earlier.
            let start = before.started_at.unwrap_or(before.created_at);
            let start = self.start.map_or(start, |known| known.min(start));
            self.start = Some(start);
            found.extend(self.too_fast(start, now));
        }
        found
    }

    /// Calls that the rate has earned from the batch's start until `at`.
    fn earned(&self, per_s: f64, start: Timestamp, at: Timestamp) -> f64 {
        let (ramp, s) = (f64::from(self.policy.ramp_s), at.since(start).as_secs_f64());
        let lost = if s < ramp { s - s * s / (2.0 * ramp) } else { ramp / 2.0 };
        per_s * (s - lost)
    }

    fn too_fast(&self, start: Timestamp, now: Timestamp) -> Option<String> {
        let per_s = self.policy.calls_per_second?;
        let until = self.earned(per_s, start, now + SLACK);
        self.leased.iter().enumerate().find_map(|(n, from)| {
            let calls = (self.leased.len() - n) as f64;
            let most = 1.0 + until - self.earned(per_s, start, *from);
            (calls > most + 0.01).then(|| {
                format!("{calls} calls began from {from} to {now}; the pace allows {most:.2}")
            })
        })
    }

    /// The batch has moved.
    pub fn moved(&mut self, change: &BatchTransition) -> Option<String> {
        if change.from == change.to {
            return None;
        }
        let false_alarm = change.to == BatchState::Paused
            && change.reason.as_deref().is_some_and(|reason| reason.starts_with("breaker"))
            && !self.ought_to_have_tripped(change.at);
        if change.from == BatchState::Paused || change.to == BatchState::Paused {
            self.tripping = None;
        }
        if change.from == BatchState::Paused {
            self.ended.clear();
        }
        let at = change.at;
        false_alarm.then(|| format!("the breaker tripped at {at} without a reason"))
    }

    /// Whether it ought to trip, or ought to have of late: between what a server reads and
    /// what it orders others may end well.
    fn ought_to_have_tripped(&self, now: Timestamp) -> bool {
        let Some(rule) = self.policy.breaker_rule() else { return false };
        let left = Duration::from_secs(rule.window_s.into()) + Duration::from_micros(1);
        let late = |at: Timestamp| at + TRIP_WITHIN >= now;
        let ends: Vec<_> = self.ended.iter().map(|(at, _)| *at).collect();
        (1..=ends.len()).filter(|seen| ends.get(*seen).is_none_or(|at| late(*at))).any(|seen| {
            let leaves = ends[..seen].iter().map(|at| *at + left);
            let mut moments = leaves.chain([ends[seen - 1], now]);
            moments.any(|at| at <= now && late(at) && self.ought_to_trip(seen, at))
        })
    }

    /// Whether the first `seen` attempts that ended are reason enough at `now`.
    fn ought_to_trip(&self, seen: usize, now: Timestamp) -> bool {
        let Some(rule) = self.policy.breaker_rule() else { return false };
        let window = Duration::from_secs(rule.window_s.into());
        let recent = self.ended.iter().take(seen).filter(|(at, _)| now.since(*at) <= window);
        let (failed, all) = recent.fold((0, 0), |(failed, all), (_, is_failure)| {
            (failed + u32::from(*is_failure), all + 1)
        });
        all >= rule.min_attempts && f64::from(failed) >= rule.failure_rate * f64::from(all)
    }

    /// An entry has moved.
    pub fn entry(&mut self, change: &Transition, before: &EntryRow) -> Option<String> {
        let outcome = change.outcome?;
        if !before.state.is_in_flight() || change.to.is_in_flight() {
            return None;
        }
        let failed = matches!(
            outcome,
            Outcome::DispatchFailed | Outcome::TimeoutUnclaimed | Outcome::AgentError
        );
        self.ended.push_back((change.at, failed));
        // A breaker that had to trip once need not, once others have ended well.
        let ought_to = self.ought_to_trip(self.ended.len(), change.at);
        self.tripping = self.tripping.or(Some(change.at)).filter(|_| ought_to);
        if change.to != EntryState::RetryWait {
            return None;
        }
        let rule = self.policy.retry_rule(outcome);
        let grown = f64::from(rule.base_s) * f64::powf(rule.factor, f64::from(before.attempt - 1));
        let mut least = grown.min(rule.cap_s.into()) * (1.0 - rule.jitter);
        if before.state.is_live() {
            least = least.max(self.policy.min_gap_s.into());
        }
        let waits = change.not_before.unwrap_or(change.at).since(change.at).as_secs_f64();
        (waits + 0.001 < least).then(|| {
            let call = change.key.call_id(change.attempt);
            format!("{call} is tried again too soon: after {waits} s, not {least} s")
        })
    }
}
