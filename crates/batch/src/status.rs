//! Rows as outsiders see them.

use std::collections::BTreeMap;

use dialtone_contract::wire::{AttemptView, BatchStatus, EntryView, EventView};
use dialtone_contract::{BatchId, BatchState, EntryKey, EntryState};
use dialtone_store::{BatchMode, BatchRow, CallRow, EntryRow, EventRow};

/// The status of a batch; every figure is the one at its `event_seq`.
pub fn batch_status(row: &BatchRow) -> BatchStatus {
    let ended = row.count(|state| state.is_terminal());
    let in_state = |wanted| row.count(|state| state == wanted);
    let mut by_state = BTreeMap::new();
    let mut by_outcome = BTreeMap::new();
    for ((state, outcome), n) in &row.counters {
        *by_state.entry(*state).or_default() += n;
        if let Some(outcome) = outcome.filter(|_| state.is_terminal()) {
            *by_outcome.entry(outcome).or_default() += n;
        }
    }
    BatchStatus {
        batch_id: row.id.clone(),
        job_id: row.id.job(),
        status: row.state,
        status_reason: row.reason.clone(),
        mode: match row.spec.mode {
            BatchMode::Test => "test",
            BatchMode::Live => "live",
        }
        .to_owned(),
        seed: (row.spec.mode == BatchMode::Test).then_some(row.spec.seed),
        total_calls: row.spec.total,
        completed_calls: in_state(EntryState::Completed),
        failed_calls: in_state(EntryState::Failed),
        cancelled_calls: in_state(EntryState::Cancelled),
        pending_calls: row.count(|state| state.is_waiting()),
        in_flight: row.count(|state| state.is_in_flight()),
        attempts: row.attempts,
        dials: row.dials,
        progress: f64::from(ended) / f64::from(row.spec.total.max(1)),
        by_state,
        by_outcome,
        event_seq: row.event_seq,
        created_at: row.created_at,
        started_at: row.started_at,
        finished_at: row.finished_at,
        report_url: matches!(row.state, BatchState::Completed | BatchState::Cancelled)
            .then(|| format!("/batch/{}/report", row.id)),
    }
}

/// An entry with its attempts; the number only if `reveal`.
pub fn entry_view(entry: &EntryRow, calls: &[CallRow], reveal: bool) -> EntryView {
    EntryView {
        entry_id: entry.key.entry_id(),
        seq: entry.key.seq,
        to: if reveal { entry.to.expose().to_owned() } else { entry.to.to_string() },
        state: entry.state,
        outcome: entry.outcome,
        planned_outcome: entry.planned,
        attempts: calls.iter().map(|call| attempt_view(entry, call)).collect(),
    }
}

/// An event of `batch`.
pub fn event_view(batch: &BatchId, event: &EventRow) -> EventView {
    let key = |seq| EntryKey { batch: batch.clone(), seq };
    EventView {
        event_seq: event.event_seq,
        kind: event.kind.clone(),
        entry_id: event.seq.map(|seq| key(seq).entry_id()),
        attempt: event.attempt,
        from: event.from.clone(),
        to: event.to.clone(),
        outcome: event.outcome,
        reason: event.reason.clone(),
        at: event.at,
    }
}

fn attempt_view(entry: &EntryRow, call: &CallRow) -> AttemptView {
    let call_id = entry.key.call_id(call.attempt);
    AttemptView {
        room: call_id.to_string(),
        call_id,
        attempt: call.attempt,
        state: call.state,
        dispatch_id: call.dispatch_id.clone(),
        dispatched_at: call.dispatched_at,
        claimed_at: call.claimed_at,
        ended_at: call.ended_at,
        reason: call.reason.clone().or_else(|| call.outcome.map(|o| o.to_string())),
    }
}
