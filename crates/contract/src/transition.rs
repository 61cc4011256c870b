use crate::state::EntryState;

/// What can happen to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryEvent {
    /// A dispatcher takes the entry for its next attempt.
    Leased,
    /// LiveKit took the dispatch.
    DispatchAccepted,
    /// LiveKit refused the dispatch.
    DispatchFailed,
    /// The lease ran out and nobody knows whether the dispatch left.
    LeaseExpired,
    /// The dispatcher gives the entry back before anything left the process.
    LeaseReturned,
    /// An agent won the right to ring the callee.
    DialClaimed,
    /// Nobody claimed the dial in time.
    UnclaimedTimeout,
    /// The callee answered.
    Answered,
    /// The agent says that the call goes on.
    Heartbeat,
    /// The agent says that the call is over; the callback is still to come.
    CallClosed,
    /// The agent reports the outcome.
    Reported,
    /// The callback of a closed call did not come in time; the call log decides.
    CallbackTimeout,
    /// The call was neither answered nor closed in time.
    RingingTimeout,
    /// The call did not end in time.
    InCallTimeout,
    /// Heartbeats stopped after the dial claim.
    AgentLost,
    /// LiveKit's answer to a dispatch whose dial has been claimed meanwhile.
    DispatchConfirmed,
    /// A user cancelled while the entry waited.
    Cancelled,
    /// A user cancelled while an attempt was under way; the agent is told to hang up.
    HungUp,
    /// The number may not be called any more.
    Suppressed,
    /// The entry may not be called yet: its window is closed, or its number is in use.
    Deferred,
    /// The entry was put off because its number is in use, and it still is.
    DeferredAgain,
}

/// The state that a transition leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Always this state.
    State(EntryState),
    /// The state stays; only deadlines or the call log change.
    Same,
    /// The attempt ends: `retry_wait` if the retry class allows another attempt, else
    /// the final state of the outcome.
    AttemptEnds(RetryClass),
}

/// What an ended attempt means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryClass {
    /// The callee cannot have been reached: retried up to `max_retries`.
    BeforeContact,
    /// The callee may have been reached: final unless `redial_after_contact`.
    AfterContact,
    /// The reported outcome decides.
    ByOutcome,
    /// No attempt follows.
    Never,
}

/// What a transition does to the attempt number, the fencing token of everything
/// that leaves the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEffect {
    /// The attempt stays.
    Keep,
    /// A new attempt begins.
    Next,
    /// The attempt is taken back, because nothing that carries it has left.
    GiveBack,
    /// The attempt stays and counts as a dial.
    Dial,
}

/// One line of the transition table.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What happens.
    pub event: EntryEvent,
    /// The states in which it may happen.
    pub from: &'static [EntryState],
    /// Where it leads.
    pub to: Target,
    /// What it does to the attempt.
    pub attempt: AttemptEffect,
}

impl EntryEvent {
    /// The rule for this event.
    pub fn rule(self) -> &'static Rule {
        // Each event has exactly one line; `every_event_has_one_rule` holds it to that.
        &TRANSITIONS[self as usize]
    }

    /// Whether the event is kept in the batch's stream. Heartbeats are not: they come
    /// every few seconds and change nothing that a status shows. Nor is a late answer of
    /// LiveKit, which changes the call log alone, nor what only goes on as the stream says.
    pub const fn is_recorded(self) -> bool {
        !matches!(self, Self::Heartbeat | Self::DispatchConfirmed | Self::DeferredAgain)
    }

    /// Dotted past-tense name, as in `call_events.type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leased => "entry.leased",
            Self::DispatchAccepted => "entry.dispatched",
            Self::DispatchFailed => "entry.dispatch_failed",
            Self::LeaseExpired => "entry.lease_expired",
            Self::LeaseReturned => "entry.lease_returned",
            Self::DialClaimed => "entry.dial_claimed",
            Self::UnclaimedTimeout => "entry.unclaimed_timed_out",
            Self::Answered => "entry.answered",
            Self::Heartbeat => "entry.heartbeat_received",
            Self::CallClosed => "entry.call_closed",
            Self::Reported => "entry.outcome_reported",
            Self::CallbackTimeout => "entry.callback_timed_out",
            Self::RingingTimeout => "entry.ringing_timed_out",
            Self::InCallTimeout => "entry.in_call_timed_out",
            Self::AgentLost => "entry.agent_lost",
            Self::DispatchConfirmed => "entry.dispatch_confirmed",
            Self::Cancelled => "entry.cancelled",
            Self::HungUp => "entry.hung_up",
            Self::Suppressed => "entry.suppressed",
            Self::Deferred => "entry.deferred",
            Self::DeferredAgain => "entry.deferred_again",
        }
    }
}

const fn rule(
    event: EntryEvent,
    from: &'static [EntryState],
    to: Target,
    attempt: AttemptEffect,
) -> Rule {
    Rule { event, from, to, attempt }
}

use AttemptEffect::{Dial, GiveBack, Keep, Next};
use EntryState::{Claimed, Dispatched, InCall, Leased, Pending, RetryWait};
use RetryClass::{AfterContact, BeforeContact, ByOutcome, Never};
use Target::{AttemptEnds, Same, State};

/// The one transition table of an entry. Rules read it, stores only compare and swap.
///
/// The dial may be claimed in `leased` too: the job can reach the agent before
/// LiveKit's answer reaches the dispatcher.
pub const TRANSITIONS: &[Rule] = &[
    rule(EntryEvent::Leased, &[Pending, RetryWait], State(Leased), Next),
    rule(EntryEvent::DispatchAccepted, &[Leased], State(Dispatched), Keep),
    rule(EntryEvent::DispatchFailed, &[Leased], AttemptEnds(BeforeContact), Keep),
    rule(EntryEvent::LeaseExpired, &[Leased], AttemptEnds(BeforeContact), Keep),
    rule(EntryEvent::LeaseReturned, &[Leased], State(Pending), GiveBack),
    rule(EntryEvent::DialClaimed, &[Leased, Dispatched], State(Claimed), Dial),
    rule(EntryEvent::UnclaimedTimeout, &[Dispatched], AttemptEnds(BeforeContact), Keep),
    rule(EntryEvent::Answered, &[Claimed], State(InCall), Keep),
    rule(EntryEvent::Heartbeat, &[Claimed, InCall], Same, Keep),
    rule(EntryEvent::CallClosed, &[Claimed, InCall], Same, Keep),
    rule(EntryEvent::Reported, &[Claimed, InCall], AttemptEnds(ByOutcome), Keep),
    rule(EntryEvent::CallbackTimeout, &[Claimed, InCall], AttemptEnds(ByOutcome), Keep),
    rule(EntryEvent::RingingTimeout, &[Claimed], AttemptEnds(AfterContact), Keep),
    rule(EntryEvent::InCallTimeout, &[InCall], AttemptEnds(AfterContact), Keep),
    rule(EntryEvent::AgentLost, &[Claimed, InCall], AttemptEnds(AfterContact), Keep),
    rule(EntryEvent::DispatchConfirmed, &[Claimed, InCall], Same, Keep),
    rule(EntryEvent::Cancelled, &[Pending, RetryWait], State(EntryState::Cancelled), Keep),
    rule(EntryEvent::HungUp, &[Leased, Dispatched, Claimed, InCall], AttemptEnds(Never), Keep),
    rule(EntryEvent::Suppressed, &[Pending, RetryWait], State(EntryState::Failed), Keep),
    rule(EntryEvent::Deferred, &[Pending, RetryWait], Same, Keep),
    rule(EntryEvent::DeferredAgain, &[Pending, RetryWait], Same, Keep),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_one_rule() {
        for (index, rule) in TRANSITIONS.iter().enumerate() {
            assert_eq!(rule.event as usize, index, "{:?} is out of place", rule.event);
            assert!(!rule.from.is_empty());
        }
    }

    #[test]
    fn nothing_happens_after_the_end() {
        for rule in TRANSITIONS {
            assert!(rule.from.iter().all(|state| !state.is_terminal()), "{:?}", rule.event);
        }
    }

    #[test]
    fn only_a_claim_dials_and_only_a_lease_begins_an_attempt() {
        for rule in TRANSITIONS {
            assert_eq!(rule.attempt == Dial, rule.to == State(Claimed), "{:?}", rule.event);
            assert_eq!(rule.attempt == Next, rule.to == State(Leased), "{:?}", rule.event);
        }
    }
}
