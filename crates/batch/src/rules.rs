use std::time::Duration;

use dialtone_clock::{TimeScale, Timestamp};
use dialtone_contract::{
    AttemptEffect, BatchState, CallState, EntryEvent, EntryState, Outcome, RetryClass, Target,
    limits,
};
use dialtone_store::{
    BatchMode, BatchSpec, CallPatch, CallRow, EntryRow, NumberRelease, OutboxItem, Transition,
};

use crate::policy::retry::{self, Ended};
use crate::policy::schedule;
use crate::webhook;

/// Something that happened to an entry, with what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// LiveKit took the dispatch.
    DispatchAccepted {
        /// LiveKit's id for it.
        dispatch_id: String,
    },
    /// LiveKit did not take the dispatch, or did not say.
    DispatchFailed {
        /// Why.
        reason: String,
    },
    /// The dispatcher gives the lease back; nothing left the process.
    LeaseReturned,
    /// An agent claims the dial.
    DialClaimed {
        /// Who.
        claimer: Option<String>,
    },
    /// The callee answered.
    Answered,
    /// The agent is alive.
    Heartbeat,
    /// The agent says that the call is over.
    CallClosed {
        /// What it says came of it.
        outcome: Outcome,
        /// Why.
        reason: Option<String>,
    },
    /// The agent reports the outcome.
    Reported {
        /// What came of it.
        outcome: Outcome,
        /// Why.
        reason: Option<String>,
        /// How long the call lasted, in product milliseconds.
        duration_ms: Option<u64>,
    },
    /// A user cancelled; the agent shall hang up.
    HungUp,
    /// The entry's deadline has come; what that means follows from its state.
    DeadlinePassed,
}

/// Something that happens to an entry that waits for a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhileWaiting {
    /// A user cancelled.
    Cancelled,
    /// The number may not be called any more.
    Suppressed,
    /// The entry may not be called before this time.
    Deferred(Timestamp),
    /// As [`Self::Deferred`], for the reason for which it was put off before.
    DeferredAgain(Timestamp),
}

/// States of a batch in which an agent may begin to dial: not after its cancel.
pub(crate) const DIALABLE: &[BatchState] =
    &[BatchState::Accepted, BatchState::Running, BatchState::Paused];

/// A happening that the entry's state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} is not possible in state {from}")]
pub struct Illegal {
    /// What happened.
    pub event: EntryEvent,
    /// The state it met.
    pub from: EntryState,
}

/// The pipeline's rules: what happened and the row it happened to give one guarded
/// transition, or nothing. Pure: no I/O, no clock, no chance but the batch's seed.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    scale: TimeScale,
}

impl Rules {
    /// Rules on a timeline of this scale.
    pub fn new(scale: TimeScale) -> Self {
        Self { scale }
    }

    /// The scale of the timeline.
    pub fn scale(&self) -> TimeScale {
        self.scale
    }

    /// When a guard of `span` that starts now runs out.
    pub fn guard(&self, now: Timestamp, span: Duration) -> Timestamp {
        now + self.scale.guard_span(span)
    }

    /// The transition that `happening` leads to.
    ///
    /// # Errors
    /// If the transition table has no such line for the entry's state.
    pub fn decide(
        &self,
        spec: &BatchSpec,
        entry: &EntryRow,
        call: &CallRow,
        happening: Happening,
        now: Timestamp,
    ) -> Result<Transition, Illegal> {
        let (event, outcome) = Self::classify(entry, call, &happening, now);
        let rule = event.rule();
        if !rule.from.contains(&entry.state) {
            return Err(Illegal { event, from: entry.state });
        }
        let mut change = Self::unchanged(entry, event, now);
        match rule.to {
            Target::Same => {}
            Target::State(to) => change.to = to,
            Target::AttemptEnds(class) => {
                let outcome = outcome.expect("every event that ends an attempt has an outcome");
                self.end_attempt(&mut change, spec, entry, class, outcome);
            }
        }
        if event == EntryEvent::HungUp {
            // In one commit with the cancel, so that the agent hears of it even if its room
            // outlives the request to close it.
            let room = entry.key.call_id(entry.attempt).to_string();
            let taken_back = |dispatch_id| OutboxItem::DeleteDispatch { room, dispatch_id };
            change.outbox.splice(..0, call.dispatch_id.clone().map(taken_back));
        }
        if spec.mode == BatchMode::Live && !change.to.is_in_flight() {
            let free_at = self.left_alone_until(event, spec, entry, now);
            change.number = Some(NumberRelease { key: entry.number, free_at });
        }
        change.dial = rule.attempt == AttemptEffect::Dial;
        change.batch_in = change.dial.then_some(DIALABLE);
        if rule.attempt == AttemptEffect::GiveBack {
            change.new_attempt = entry.attempt - 1;
            change.not_before = Some(now);
            change.call.remove = true;
        }
        if change.to.is_terminal() {
            change.outbox.extend(webhook::of_entry(spec, entry, now));
        }
        self.set_deadline(&mut change, event, call);
        Self::patch_call(&mut change.call, event, happening, now);
        Ok(change)
    }

    /// The transition that `what` leads to while the entry waits for a claim.
    ///
    /// # Errors
    /// If the transition table has no such line for the entry's state.
    pub fn while_waiting(
        &self,
        spec: &BatchSpec,
        entry: &EntryRow,
        what: WhileWaiting,
        now: Timestamp,
    ) -> Result<Transition, Illegal> {
        let (event, outcome) = match what {
            WhileWaiting::Cancelled => (EntryEvent::Cancelled, Some(Outcome::Cancelled)),
            WhileWaiting::Suppressed => (EntryEvent::Suppressed, Some(Outcome::Suppressed)),
            WhileWaiting::Deferred(_) => (EntryEvent::Deferred, entry.outcome),
            WhileWaiting::DeferredAgain(_) => (EntryEvent::DeferredAgain, entry.outcome),
        };
        let rule = event.rule();
        if !rule.from.contains(&entry.state) {
            return Err(Illegal { event, from: entry.state });
        }
        let mut change = Self::unchanged(entry, event, now);
        change.outcome = outcome;
        if let Target::State(to) = rule.to {
            change.to = to;
            change.outbox = webhook::of_entry(spec, entry, now);
        }
        change.not_before = match what {
            WhileWaiting::Deferred(until) | WhileWaiting::DeferredAgain(until) => Some(until),
            WhileWaiting::Cancelled | WhileWaiting::Suppressed => None,
        };
        Ok(change)
    }

    /// Which line of the table applies, and the outcome if the attempt ends with it.
    fn classify(
        entry: &EntryRow,
        call: &CallRow,
        happening: &Happening,
        now: Timestamp,
    ) -> (EntryEvent, Option<Outcome>) {
        match happening {
            Happening::DispatchAccepted { .. } if entry.state.is_live() => {
                (EntryEvent::DispatchConfirmed, None)
            }
            Happening::DispatchAccepted { .. } => (EntryEvent::DispatchAccepted, None),
            Happening::DispatchFailed { .. } => {
                (EntryEvent::DispatchFailed, Some(Outcome::DispatchFailed))
            }
            Happening::LeaseReturned => (EntryEvent::LeaseReturned, None),
            Happening::DialClaimed { .. } => (EntryEvent::DialClaimed, None),
            Happening::Answered => (EntryEvent::Answered, None),
            Happening::Heartbeat => (EntryEvent::Heartbeat, None),
            Happening::CallClosed { .. } => (EntryEvent::CallClosed, None),
            Happening::Reported { outcome, .. } => (EntryEvent::Reported, Some(*outcome)),
            Happening::HungUp => (EntryEvent::HungUp, Some(Outcome::Cancelled)),
            Happening::DeadlinePassed => Self::classify_deadline(entry, call, now),
        }
    }

    fn classify_deadline(
        entry: &EntryRow,
        call: &CallRow,
        now: Timestamp,
    ) -> (EntryEvent, Option<Outcome>) {
        let capped = entry.cap.is_some_and(|cap| cap <= now);
        match (entry.state, call.closed_outcome) {
            (EntryState::Claimed | EntryState::InCall, Some(outcome)) => {
                (EntryEvent::CallbackTimeout, Some(outcome))
            }
            (EntryState::Claimed, None) if capped => {
                (EntryEvent::RingingTimeout, Some(Outcome::TimeoutRinging))
            }
            (EntryState::InCall, None) if capped => {
                (EntryEvent::InCallTimeout, Some(Outcome::TimeoutInCall))
            }
            (EntryState::Claimed | EntryState::InCall, None) => {
                (EntryEvent::AgentLost, Some(Outcome::AgentError))
            }
            (EntryState::Dispatched, _) => {
                (EntryEvent::UnclaimedTimeout, Some(Outcome::TimeoutUnclaimed))
            }
            // In any other state the table has no such line.
            _ => (EntryEvent::LeaseExpired, Some(Outcome::DispatchFailed)),
        }
    }

    fn unchanged(entry: &EntryRow, event: EntryEvent, now: Timestamp) -> Transition {
        Transition {
            tenant: entry.tenant.clone(),
            key: entry.key.clone(),
            event,
            from: entry.state,
            from_outcome: entry.outcome,
            attempt: entry.attempt,
            lease_epoch: None,
            deadline_seen: entry.deadline,
            batch_in: None,
            to: entry.state,
            outcome: entry.outcome,
            new_attempt: entry.attempt,
            dial: false,
            not_before: entry.not_before,
            deadline: entry.deadline,
            cap: entry.cap,
            number: None,
            call: CallPatch::default(),
            outbox: Vec::new(),
            at: now,
        }
    }

    fn end_attempt(
        &self,
        change: &mut Transition,
        spec: &BatchSpec,
        entry: &EntryRow,
        class: RetryClass,
        outcome: Outcome,
    ) {
        change.outcome = Some(outcome);
        let ended = Ended { seq: entry.key.seq, attempt: entry.attempt, outcome, class };
        if let Some(wait) = retry::wait(&spec.options, spec.seed, ended) {
            change.to = EntryState::RetryWait;
            let quiet = self.left_alone_until(change.event, spec, entry, change.at);
            let at = (change.at + wait).max(quiet.unwrap_or(change.at));
            let timezone = entry.timezone.as_deref();
            change.not_before = Some(schedule::earliest(&spec.options, timezone, at));
        } else {
            change.to = outcome.final_state();
        }
        change.call.state = Some(match outcome {
            Outcome::Completed
            | Outcome::NoAnswer
            | Outcome::Busy
            | Outcome::Declined
            | Outcome::Voicemail => CallState::Ended,
            Outcome::Cancelled => CallState::Cancelled,
            _ => CallState::Failed,
        });
        change.call.ended_at = Some(change.at);
        change.call.outcome = Some(outcome);
        let room = entry.key.call_id(entry.attempt).to_string();
        change.outbox.push(OutboxItem::DeleteRoom { room });
    }

    fn set_deadline(&self, change: &mut Transition, event: EntryEvent, call: &CallRow) {
        let now = change.at;
        let beat = self.guard(now, limits::HEARTBEAT_LEASE);
        match event {
            EntryEvent::DispatchAccepted if change.from == EntryState::Leased => {
                change.deadline = Some(self.guard(now, limits::UNCLAIMED));
            }
            EntryEvent::DialClaimed => {
                let cap = self.guard(now, limits::RINGING);
                (change.cap, change.deadline) = (Some(cap), Some(beat.min(cap)));
            }
            EntryEvent::Answered => {
                let cap = self.guard(now, limits::IN_CALL);
                (change.cap, change.deadline) = (Some(cap), Some(beat.min(cap)));
            }
            // A closed call waits for its callback alone; no heartbeat prolongs that.
            EntryEvent::Heartbeat if call.closed_outcome.is_none() => {
                change.deadline = Some(change.cap.map_or(beat, |cap| beat.min(cap)));
            }
            EntryEvent::CallClosed => {
                change.deadline = Some(self.guard(now, limits::CALLBACK_GRACE));
            }
            _ if !change.to.is_in_flight() => (change.deadline, change.cap) = (None, None),
            _ => {}
        }
    }

    fn patch_call(patch: &mut CallPatch, event: EntryEvent, happening: Happening, now: Timestamp) {
        match happening {
            Happening::DispatchAccepted { dispatch_id } => {
                let claimed = event == EntryEvent::DispatchConfirmed;
                patch.state = (!claimed).then_some(CallState::Dispatched);
                patch.dispatch_id = Some(dispatch_id);
                patch.dispatched_at = Some(now);
            }
            Happening::DispatchFailed { reason } => patch.reason = Some(reason),
            Happening::DialClaimed { claimer } => {
                patch.state = Some(CallState::Ringing);
                patch.claimed_at = Some(now);
                patch.claimer = claimer;
            }
            Happening::Answered => patch.state = Some(CallState::InCall),
            Happening::CallClosed { outcome, reason } => {
                let ended = outcome == Outcome::Completed;
                patch.state = Some(if ended { CallState::Ended } else { CallState::Failed });
                patch.closed_outcome = Some(outcome);
                patch.reason = reason;
            }
            Happening::Reported { reason, duration_ms, .. } => {
                patch.reason = reason;
                patch.duration_ms = duration_ms;
            }
            Happening::LeaseReturned
            | Happening::Heartbeat
            | Happening::HungUp
            | Happening::DeadlinePassed => {}
        }
    }

    /// Until when nobody rings the number of an attempt that ends now, if there is a reason
    /// to leave it alone: the batch wants a gap, or the callee may hear the agent for longer
    /// than the attempt lasts.
    fn left_alone_until(
        &self,
        event: EntryEvent,
        spec: &BatchSpec,
        entry: &EntryRow,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if !entry.state.is_live() {
            return None;
        }
        let gap = now + Duration::from_secs(spec.options.min_gap_s.into());
        let heard = match event {
            // An agent whose last beat was granted just before is heard for a whole lease
            // after it, if it learns nothing.
            EntryEvent::RingingTimeout | EntryEvent::InCallTimeout | EntryEvent::HungUp => {
                self.guard(now, limits::HEARTBEAT_LEASE)
            }
            _ => now,
        };
        Some(gap.max(heard)).filter(|at| *at > now)
    }
}
