use std::collections::BTreeMap;

use dialtone_clock::Timestamp;
use dialtone_contract::wire::{
    AttemptTotals, Outage, Outages, Pause, Pauses, Retries, StepDurations, TimeoutEvidence,
    Timeouts,
};
use dialtone_contract::{BatchState, Outcome, limits};
use dialtone_store::{CallRow, EntryRow, EventRow};

use super::histogram::Histogram;
use crate::breaker::NO_DISPATCHES;

/// What the rows of a batch add up to, shown one by one.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) by_attempt: Vec<AttemptTotals>,
    pub(super) attempts_histogram: BTreeMap<u32, u32>,
    pub(super) retries: Retries,
    pub(super) timeouts: Timeouts,
    pub(super) pauses: Pauses,
    pub(super) outages: Outages,
    /// The last batch event before the end.
    pub(super) drained_at: Option<Timestamp>,
    paused: Option<Pause>,
    outage: Option<Outage>,
    queue: Histogram,
    dispatch: Histogram,
    claim: Histogram,
    talk: Histogram,
}

fn span(histogram: &mut Histogram, from: Option<Timestamp>, until: Option<Timestamp>) {
    if let (Some(from), Some(until)) = (from, until) {
        histogram.add(u64::try_from(until.since(from).as_micros()).unwrap_or(u64::MAX));
    }
}

impl Tally {
    /// The next entry, by place.
    pub(super) fn entry(&mut self, entry: &EntryRow, calls: &[CallRow]) {
        let attempts = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        *self.attempts_histogram.entry(attempts).or_default() += 1;
        for (index, call) in calls.iter().enumerate() {
            self.call(entry, index, call);
            if let Some(outcome) = call.outcome.filter(|_| index + 1 < calls.len()) {
                self.retries.total += 1;
                *self.retries.by_outcome.entry(outcome).or_default() += 1;
            }
        }
    }

    fn call(&mut self, entry: &EntryRow, index: usize, call: &CallRow) {
        if self.by_attempt.len() <= index {
            self.by_attempt.push(AttemptTotals { attempt: call.attempt, ..Default::default() });
        }
        let totals = &mut self.by_attempt[index];
        totals.begun += 1;
        if let Some(outcome) = call.outcome {
            *totals.by_outcome.entry(outcome).or_default() += 1;
        }
        let leased = Some(call.leased_at);
        span(&mut self.queue, call.due_at, leased);
        span(&mut self.dispatch, leased, call.dispatched_at);
        span(&mut self.claim, leased, call.claimed_at);
        if let Some(ms) = call.duration_ms {
            self.talk.add(ms.saturating_mul(1000));
        }
        if let Some(outcome) = call.outcome.filter(|outcome| outcome.is_timeout()) {
            self.timeout(entry, call, outcome);
        }
    }

    fn timeout(&mut self, entry: &EntryRow, call: &CallRow, outcome: Outcome) {
        self.timeouts.total += 1;
        *self.timeouts.by_outcome.entry(outcome).or_default() += 1;
        if self.timeouts.evidence.len() < limits::REPORT_EXAMPLES {
            let (last_seen, last_seen_at) = last_seen(call);
            self.timeouts.evidence.push(TimeoutEvidence {
                entry_id: entry.key.entry_id(),
                attempt: call.attempt,
                outcome,
                last_seen,
                last_seen_at,
                ended_at: call.ended_at,
            });
        }
    }

    /// The next event, in order.
    pub(super) fn event(&mut self, event: &EventRow) {
        if event.seq.is_some() {
            // The last of them ended the last entry.
            self.drained_at = Some(event.at);
            return;
        }
        self.livekit(event);
        let paused = BatchState::Paused.as_str();
        if event.from == paused && event.to != paused {
            self.resume(Some(event.at));
        }
        if event.to == paused && event.from != paused {
            self.resume(None);
            let reason = event.reason.clone();
            self.paused = Some(Pause { from: event.at, until: None, reason });
        }
    }

    /// An outage ends with the next word on the batch that is not of it.
    fn livekit(&mut self, event: &EventRow) {
        let of_outage = |reason: &&str| reason.starts_with(NO_DISPATCHES);
        match (event.reason.as_deref().filter(of_outage), &self.outage) {
            (Some(reason), None) => {
                let reason = reason.trim_start_matches(NO_DISPATCHES).to_owned();
                self.outage = Some(Outage { from: event.at, until: None, reason });
            }
            (None, Some(_)) => {
                let over = event.from == event.to;
                self.end_outage(over.then_some(event.at));
            }
            _ => {}
        }
    }

    fn end_outage(&mut self, until: Option<Timestamp>) {
        let Some(outage) = self.outage.take() else { return };
        self.outages.total += 1;
        if self.outages.items.len() < limits::REPORT_EXAMPLES {
            self.outages.items.push(Outage { until, ..outage });
        }
    }

    fn resume(&mut self, until: Option<Timestamp>) {
        let Some(pause) = self.paused.take() else { return };
        self.pauses.total += 1;
        if self.pauses.items.len() < limits::REPORT_EXAMPLES {
            self.pauses.items.push(Pause { until, ..pause });
        }
    }

    /// The percentiles, when everything has been shown.
    pub(super) fn finish(&mut self) -> StepDurations {
        self.resume(None);
        self.end_outage(None);
        StepDurations {
            queue: self.queue.percentiles(),
            dispatch: self.dispatch.percentiles(),
            claim: self.claim.percentiles(),
            talk: self.talk.percentiles(),
        }
    }
}

/// The last thing that was seen of an attempt before its deadline ended it.
fn last_seen(call: &CallRow) -> (String, Timestamp) {
    if let Some(at) = call.claimed_at {
        let claimer = call.claimer.as_deref().unwrap_or("an agent");
        return (format!("{claimer} claimed the dial"), at);
    }
    match (call.dispatched_at, &call.dispatch_id) {
        (Some(at), Some(id)) => (format!("LiveKit took the dispatch {id}"), at),
        (Some(at), None) => ("LiveKit took the dispatch".to_owned(), at),
        (None, _) => ("a dispatcher leased the entry".to_owned(), call.leased_at),
    }
}
