use std::sync::Arc;

use dialtone_clock::Clock;
use dialtone_contract::wire::{
    CallStatusRequest, CallStatusResponse, ClaimResponse, EntryCompletedRequest,
    EntryCompletedResponse, HeartbeatRequest, HeartbeatResponse, HeartbeatState, ReportedStatus,
};
use dialtone_contract::{CallId, EntryKey, EntryState, ErrorCode, Outcome, TenantId, limits};
use dialtone_store::{Applied, CallRow, Change, EntryRow, Store, StoreError};

use crate::specs::Specs;
use crate::{BatchMetrics, Happening, Rules};

/// Times that a decision is made anew because the row moved in between. Each time some
/// other writer has won, so more than a few means that the store is lying.
const DECISIONS_MAX: u32 = 8;

/// Heartbeats that fit into one heartbeat lease: two may be lost.
const BEATS_PER_LEASE: u32 = 3;

/// Why an agent's request about its call was not granted.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// A refusal with its stable code.
    #[error("{}", .0.title())]
    Refused(ErrorCode),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ErrorCode> for CallError {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code)
    }
}

/// The agents' side of a call: dial claim, heartbeat, status, callback. Who may speak
/// for a call has been checked before (the capability names tenant and call).
pub struct Calls {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    rules: Rules,
    specs: Specs,
    metrics: BatchMetrics,
}

/// What to do with a row that was just read: change it, or answer without a change.
enum Decision<T> {
    Change(Happening),
    /// A heartbeat of this number is counted.
    Beat(Happening, u64),
    Answer(T),
}

impl Calls {
    /// The agents' side over `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, metrics: BatchMetrics) -> Self {
        let rules = Rules::new(clock.scale());
        Self { specs: Specs::new(Arc::clone(&store)), store, clock, rules, metrics }
    }

    /// The dial claim. The first claimer of the current attempt wins; the same claimer
    /// asking again gets the same answer.
    ///
    /// # Errors
    /// `already_claimed` for a rival, `stale_attempt` if the attempt is over,
    /// `cancelled`, `not_found`.
    pub async fn claim(
        &self,
        tenant: &TenantId,
        call_id: &CallId,
        claimer: Option<String>,
    ) -> Result<ClaimResponse, CallError> {
        let (key, attempt) = parts(call_id)?;
        let decide = |entry: &EntryRow, call: &CallRow| match entry.state {
            EntryState::Cancelled => Err(ErrorCode::Cancelled),
            _ if entry.attempt != attempt => Err(ErrorCode::StaleAttempt),
            EntryState::Leased | EntryState::Dispatched => {
                Ok(Decision::Change(Happening::DialClaimed { claimer: claimer.clone() }))
            }
            EntryState::Claimed | EntryState::InCall => {
                let same = claimer.is_some() && claimer == call.claimer;
                same.then_some(Decision::Answer(())).ok_or(ErrorCode::AlreadyClaimed)
            }
            _ => Err(ErrorCode::StaleAttempt),
        };
        let (entry, _) = self.settle(tenant, &key, attempt, decide).await?;
        let wall = |span| self.rules.scale().guard(span);
        let ms = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Ok(ClaimResponse {
            attempt,
            to: entry.to.expose().to_owned(),
            budget_ms: ms(wall(limits::IN_CALL)),
            heartbeat_ms: ms(wall(limits::HEARTBEAT_LEASE) / BEATS_PER_LEASE),
        })
    }

    /// A sign of life; `in_call` in it also says that the callee answered, in case the
    /// status that said so was lost. Never an error for an attempt that is over: the answer
    /// says to hang up.
    ///
    /// # Errors
    /// `not_claimed` before the dial claim, `not_found`.
    pub async fn heartbeat(
        &self,
        tenant: &TenantId,
        call_id: &CallId,
        request: &HeartbeatRequest,
    ) -> Result<HeartbeatResponse, CallError> {
        let (key, attempt) = parts(call_id)?;
        let answered = request.state == HeartbeatState::InCall;
        // The store's integers are signed; an agent that starts above them is counted once.
        let seq = request.seq.min(i64::MAX.unsigned_abs());
        let now = self.clock.now();
        let decide = |entry: &EntryRow, call: &CallRow| match entry.state {
            EntryState::Leased | EntryState::Dispatched if entry.attempt == attempt => {
                Err(ErrorCode::NotClaimed)
            }
            // A beat that was overtaken, or came twice, is no sign of life.
            EntryState::Claimed | EntryState::InCall
                if entry.attempt == attempt && call.beat_seq.is_some_and(|last| seq <= last) =>
            {
                let over = entry.cap.is_some_and(|cap| cap <= now);
                Ok(Decision::Answer(over.then_some("attempt_over")))
            }
            EntryState::Claimed
                if answered && entry.attempt == attempt && !call.state.is_closed() =>
            {
                Ok(Decision::Beat(Happening::Answered, seq))
            }
            // The dispatcher may be late to end what has lasted too long; no beat prolongs it.
            EntryState::Claimed | EntryState::InCall
                if entry.attempt == attempt && entry.cap.is_some_and(|cap| cap <= now) =>
            {
                Ok(Decision::Answer(Some("attempt_over")))
            }
            EntryState::Claimed | EntryState::InCall if entry.attempt == attempt => {
                Ok(Decision::Beat(Happening::Heartbeat, seq))
            }
            EntryState::Cancelled => Ok(Decision::Answer(Some("cancelled"))),
            _ => Ok(Decision::Answer(Some("attempt_over"))),
        };
        let (_, over) = self.settle(tenant, &key, attempt, decide).await?;
        let reason = over.flatten().map(str::to_owned);
        Ok(HeartbeatResponse { go_on: reason.is_none(), reason })
    }

    /// Where the call stands, as the agent says.
    ///
    /// # Errors
    /// `not_claimed` before the dial claim, `stale_attempt` after the attempt's end,
    /// `not_found`.
    pub async fn status(
        &self,
        tenant: &TenantId,
        call_id: &CallId,
        request: &CallStatusRequest,
    ) -> Result<CallStatusResponse, CallError> {
        let (key, attempt) = parts(call_id)?;
        let reason = || request.reason.clone().map(cut);
        let closed = |outcome| Happening::CallClosed { outcome, reason: reason() };
        let decide = |entry: &EntryRow, call: &CallRow| {
            if entry.attempt != attempt {
                return Err(ErrorCode::StaleAttempt);
            }
            match (entry.state, request.status) {
                (EntryState::Leased | EntryState::Dispatched, _) => Err(ErrorCode::NotClaimed),
                (EntryState::Claimed | EntryState::InCall, _) if call.state.is_closed() => {
                    Ok(Decision::Answer(()))
                }
                (EntryState::Claimed, ReportedStatus::Ringing)
                | (EntryState::InCall, ReportedStatus::InCall | ReportedStatus::Ringing) => {
                    Ok(Decision::Answer(()))
                }
                (EntryState::Claimed, ReportedStatus::InCall) => {
                    Ok(Decision::Change(Happening::Answered))
                }
                (EntryState::Claimed | EntryState::InCall, ReportedStatus::Ended) => {
                    Ok(Decision::Change(closed(Outcome::Completed)))
                }
                (EntryState::Claimed | EntryState::InCall, ReportedStatus::Failed) => {
                    Ok(Decision::Change(closed(Outcome::Failed)))
                }
                _ => Err(ErrorCode::StaleAttempt),
            }
        };
        let (entry, answered) = self.settle(tenant, &key, attempt, decide).await?;
        Ok(CallStatusResponse { applied: answered.is_none(), state: entry.state })
    }

    /// The outcome of an attempt. Applied once; the same outcome again changes nothing
    /// and says so.
    ///
    /// # Errors
    /// `stale_attempt`, `not_claimed`, `outcome_conflict` if the attempt has ended
    /// otherwise, `not_found`. A cancelled entry is no error: `applied` is false.
    pub async fn completed(
        &self,
        tenant: &TenantId,
        request: &EntryCompletedRequest,
    ) -> Result<EntryCompletedResponse, CallError> {
        let result = self.complete(tenant, request).await;
        self.metrics.callback(match &result {
            Ok(answer) if answer.applied => "applied",
            Ok(_) => "duplicate",
            Err(CallError::Refused(ErrorCode::NotFound)) => "unknown",
            Err(CallError::Refused(_)) => "late",
            Err(CallError::Store(_)) => "error",
        });
        result
    }

    async fn complete(
        &self,
        tenant: &TenantId,
        request: &EntryCompletedRequest,
    ) -> Result<EntryCompletedResponse, CallError> {
        let (key, attempt) = parts(&request.call_id)?;
        if key.entry_id() != request.entry_id || attempt != request.attempt {
            return Err(ErrorCode::NotFound.into());
        }
        let outcome = request.status;
        let decide = |entry: &EntryRow, call: &CallRow| match entry.state {
            EntryState::Cancelled => Ok(Decision::Answer(())),
            // Said before, and applied then, even if another attempt has begun since.
            _ if call.outcome == Some(outcome) => Ok(Decision::Answer(())),
            _ if entry.attempt != attempt => Err(ErrorCode::StaleAttempt),
            EntryState::Leased | EntryState::Dispatched => Err(ErrorCode::NotClaimed),
            EntryState::Claimed | EntryState::InCall => Ok(Decision::Change(Happening::Reported {
                outcome,
                reason: request.reason.clone().map(cut),
                duration_ms: request.duration_ms,
            })),
            _ => Err(ErrorCode::OutcomeConflict),
        };
        let (entry, answered) = self.settle(tenant, &key, attempt, decide).await?;
        let applied = answered.is_none();
        Ok(EntryCompletedResponse { applied, state: entry.state, outcome: entry.outcome })
    }

    /// Reads the rows, decides, and applies, until the decision is made on rows that had
    /// not moved. Gives the entry as it is then, and the answer if nothing had to change.
    async fn settle<T>(
        &self,
        tenant: &TenantId,
        key: &EntryKey,
        attempt: u32,
        decide: impl Fn(&EntryRow, &CallRow) -> Result<Decision<T>, ErrorCode>,
    ) -> Result<(EntryRow, Option<T>), CallError> {
        for _ in 0..DECISIONS_MAX {
            let found = self.store.call(tenant, key, attempt).await?;
            let (mut entry, call) = found.ok_or(ErrorCode::NotFound)?;
            let (happening, beat_seq) = match decide(&entry, &call)? {
                Decision::Answer(answer) => return Ok((entry, Some(answer))),
                Decision::Change(happening) => (happening, None),
                Decision::Beat(happening, seq) => (happening, Some(seq)),
            };
            let spec = self.specs.of(&entry).await?;
            let now = self.clock.now();
            let change = self.rules.decide(&spec, &entry, &call, happening, now);
            let mut change = change.map_err(|_| ErrorCode::StaleAttempt)?;
            change.call.beat_seq = beat_seq;
            (entry.state, entry.outcome) = (change.to, change.outcome);
            let batch_in = change.batch_in;
            let applied = self.store.apply(&[Change::Entry(change)]).await?;
            if applied.first().is_some_and(Applied::is_applied) {
                return Ok((entry, None));
            }
            if let Some(states) = batch_in
                && let Some(batch) = self.store.batch(tenant, &key.batch).await?
                && !states.contains(&batch.state)
            {
                return Err(ErrorCode::Cancelled.into());
            }
        }
        Err(StoreError::Unavailable(format!("{} never stood still", key.entry_id())).into())
    }
}

pub(crate) fn parts(call_id: &CallId) -> Result<(EntryKey, u32), ErrorCode> {
    call_id.parts().map_err(|_| ErrorCode::NotFound)
}

/// Cuts free text from outside to what a row keeps.
pub(crate) fn cut(mut text: String) -> String {
    if text.len() > limits::REASON_MAX {
        let end = (0..=limits::REASON_MAX).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
