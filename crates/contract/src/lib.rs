//! What every part of Dialtone agrees on: ids, states, the transition table, wire
//! types, limits and the error-code registry. No I/O, no clock, no policy.

mod code;
mod exit;
mod id;
pub mod limits;
mod mask;
mod metadata;
mod mix;
mod state;
mod transition;
pub mod wire;

pub use code::{ErrorCode, FieldError, Problem};
pub use exit::{ExitCode, Verdict};
pub use id::{BatchId, CallId, EntryId, EntryKey, IdError, JobId, TenantId};
pub use metadata::{
    DispatchMetadata, LIVE_WORKER_NAME, MARKER, OutcomeWeights, TEST_WORKER_NAME, TestPlan,
};
pub use mix::{ScriptedFaults, TestMix};
pub use state::{
    BatchState, CallState, CancelMode, EntryState, Outcome, PlannedOutcome, UnknownName,
};
pub use transition::{AttemptEffect, EntryEvent, RetryClass, Rule, TRANSITIONS, Target};
