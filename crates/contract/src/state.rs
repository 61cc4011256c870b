use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A name that no member of an enum has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not {article}")]
pub struct UnknownName {
    article: &'static str,
    name: String,
}

/// An enum whose members have one spelling, on the wire and in the store.
macro_rules! named_enum {
    ($(#[doc = $doc:literal])* $name:ident ($article:literal) { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every member, in the order of the life cycle.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The member's one spelling.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        // The derive does not see a spelling that comes out of a macro.
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                crate::wire::spellings(concat!($($doc),*), Self::ALL.iter().map(|one| one.as_str()))
            }
        }

        impl ToSchema for $name {}

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;
            fn from_str(name: &str) -> Result<Self, UnknownName> {
                match name {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownName { article: $article, name: name.to_owned() }),
                }
            }
        }
    };
}

named_enum! {
    /// Where a batch stands.
    BatchState ("a batch state") {
        /// Entries are still being written; nothing may be claimed.
        Loading = "loading",
        /// All entries are in the store and the trigger was acknowledged.
        Accepted = "accepted",
        /// Entries are being claimed.
        Running = "running",
        /// No new claims until resumed.
        Paused = "paused",
        /// Every entry has ended; the report is being written.
        Completing = "completing",
        /// The report is written.
        Completed = "completed",
        /// Cancelled by a user; entries in flight are ending.
        Cancelling = "cancelling",
        /// Every entry has ended after a cancel.
        Cancelled = "cancelled",
        /// The platform itself could not go on.
        Failed = "failed",
    }
}

impl BatchState {
    /// Dotted past-tense name of the event that leads here, as in `call_events.type`.
    pub const fn event(self) -> &'static str {
        match self {
            Self::Loading => "batch.created",
            Self::Accepted => "batch.accepted",
            Self::Running => "batch.started",
            Self::Paused => "batch.paused",
            Self::Completing => "batch.drained",
            Self::Completed => "batch.completed",
            Self::Cancelling => "batch.cancel_requested",
            Self::Cancelled => "batch.cancelled",
            Self::Failed => "batch.failed",
        }
    }

    /// Whether the batch has ended for good.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Failed)
    }
}

named_enum! {
    /// What a cancel does to calls under way.
    CancelMode ("a cancel mode") {
        /// Calls that have reached the dial claim go on to their end.
        Drain = "drain",
        /// Calls are hung up.
        Hangup = "hangup",
    }
}

named_enum! {
    /// Where an entry stands.
    EntryState ("an entry state") {
        /// Waits for its first claim.
        Pending = "pending",
        /// Waits for its next attempt.
        RetryWait = "retry_wait",
        /// A dispatcher holds it and is creating the dispatch.
        Leased = "leased",
        /// LiveKit has the dispatch; nobody has claimed the dial yet.
        Dispatched = "dispatched",
        /// An agent won the dial claim; the callee may be ringing.
        Claimed = "claimed",
        /// The callee answered.
        InCall = "in_call",
        /// Ended well.
        Completed = "completed",
        /// Ended otherwise; the outcome says how.
        Failed = "failed",
        /// Ended by a cancel.
        Cancelled = "cancelled",
    }
}

impl EntryState {
    /// Whether the entry has ended for good.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Whether the entry waits to be claimed.
    pub const fn is_waiting(self) -> bool {
        matches!(self, Self::Pending | Self::RetryWait)
    }

    /// Whether an attempt is under way: it holds one of the batch's call slots.
    pub const fn is_in_flight(self) -> bool {
        matches!(self, Self::Leased | Self::Dispatched | Self::Claimed | Self::InCall)
    }

    /// Whether the callee may hear from this attempt.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Claimed | Self::InCall)
    }
}

named_enum! {
    /// What came of the last attempt.
    Outcome ("an outcome") {
        /// The conversation took place.
        Completed = "completed",
        /// The agent reported a failure.
        Failed = "failed",
        /// Nobody answered.
        NoAnswer = "no_answer",
        /// The line was busy.
        Busy = "busy",
        /// The callee declined.
        Declined = "declined",
        /// An answering machine took the call.
        Voicemail = "voicemail",
        /// LiveKit did not take the dispatch, or nobody knows whether it did.
        DispatchFailed = "dispatch_failed",
        /// No agent claimed the dial in time.
        TimeoutUnclaimed = "timeout_unclaimed",
        /// The call was never answered or closed in time.
        TimeoutRinging = "timeout_ringing",
        /// The call did not end in time.
        TimeoutInCall = "timeout_in_call",
        /// The agent stopped sending heartbeats after it had claimed the dial.
        AgentError = "agent_error",
        /// The number is on a suppression list.
        Suppressed = "suppressed",
        /// A user cancelled.
        Cancelled = "cancelled",
    }
}

impl Outcome {
    /// The entry state that this outcome ends in when no attempt follows.
    pub const fn final_state(self) -> EntryState {
        match self {
            Self::Completed => EntryState::Completed,
            Self::Cancelled => EntryState::Cancelled,
            _ => EntryState::Failed,
        }
    }

    /// Whether an agent may report this outcome by callback.
    pub const fn is_reportable(self) -> bool {
        matches!(
            self,
            Self::Completed
                | Self::Failed
                | Self::NoAnswer
                | Self::Busy
                | Self::Declined
                | Self::Voicemail
        )
    }

    /// Whether the platform itself decided the outcome because a deadline passed.
    pub const fn is_timeout(self) -> bool {
        matches!(
            self,
            Self::TimeoutUnclaimed | Self::TimeoutRinging | Self::TimeoutInCall | Self::AgentError
        )
    }
}

named_enum! {
    /// Where one attempt's call stands (`call_logs.status`).
    CallState ("a call state") {
        /// The dispatch is being created.
        Dispatching = "dispatching",
        /// LiveKit has the dispatch.
        Dispatched = "dispatched",
        /// The dial is claimed; the callee may be ringing.
        Ringing = "ringing",
        /// The callee answered.
        InCall = "in_call",
        /// The call is over.
        Ended = "ended",
        /// The call did not take place or broke.
        Failed = "failed",
        /// A user cancelled; the call was hung up, or never took place.
        Cancelled = "cancelled",
    }
}

impl CallState {
    /// Whether the call is over.
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Ended | Self::Failed | Self::Cancelled)
    }
}

named_enum! {
    /// What a test batch plans for an entry.
    PlannedOutcome ("a planned outcome") {
        /// Dial claim, talk, callback.
        Completed = "completed",
        /// Dial claim, short call, failure, callback.
        Failed = "failed",
        /// Accepts and joins, waits, leaves; never claims.
        Stuck = "stuck",
        /// Accepts, joins, leaves at once; never claims.
        Dropped = "dropped",
        /// As completed, but the callback comes when the platform has given it up and the
        /// call log has completed the entry.
        LateCallback = "late_callback",
        /// As completed, but the callback is sent twice.
        DuplicateCallback = "duplicate_callback",
        /// As completed, but nobody hears the answer to the first callback; it is repeated.
        LostCallback = "lost_callback",
        /// Dial claim, talk, and nothing more: no status, no callback, no heartbeat.
        CrashInCall = "crash_in_call",
        /// Refuses the job whenever it is offered.
        NeverAccepts = "never_accepts",
        /// Dial claim, then signs of life from a callee who never answers.
        RingsForever = "rings_forever",
    }
}

impl PlannedOutcome {
    /// Whether an entry with this plan is expected to reach the dial claim.
    pub const fn claims(self) -> bool {
        !matches!(self, Self::Stuck | Self::Dropped | Self::NeverAccepts)
    }

    /// Whether a worker takes the job of an entry with this plan.
    pub const fn is_accepted(self) -> bool {
        !matches!(self, Self::NeverAccepts)
    }

    /// Whether the callee answers.
    pub const fn is_answered(self) -> bool {
        self.claims() && !matches!(self, Self::Failed | Self::RingsForever)
    }

    /// The outcome that an entry with this plan must end with.
    pub const fn expected(self) -> Outcome {
        match self {
            Self::Completed | Self::LateCallback | Self::DuplicateCallback | Self::LostCallback => {
                Outcome::Completed
            }
            Self::Failed => Outcome::Failed,
            Self::Stuck | Self::Dropped | Self::NeverAccepts => Outcome::TimeoutUnclaimed,
            Self::CrashInCall => Outcome::AgentError,
            Self::RingsForever => Outcome::TimeoutRinging,
        }
    }
}
