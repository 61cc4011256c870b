//! The HTTP surface of `dialtone`, as types. Unknown fields are refused, except in
//! heartbeats.

mod batch;
mod call;
mod control;
mod entry;
mod event;
mod explain;
mod heartbeat;
mod live;
mod options;
mod report;
mod schema;
mod suppression;

pub use batch::{BatchStatus, Durations, OutcomeMode, SpanS, TestBatchRequest, TriggerResponse};
pub use call::{
    CallStatusRequest, CallStatusResponse, ClaimRequest, ClaimResponse, EntryCompletedRequest,
    EntryCompletedResponse, HeartbeatRequest, HeartbeatResponse, HeartbeatState, ReportedStatus,
};
pub use control::{BatchControlled, BatchPatch, CancelRequest, EntryControlled, PatchedLimit};
pub use entry::{AttemptView, EntryPage, EntryView};
pub use event::{EventView, StreamEnd};
pub use explain::{Due, EntryDetail, Explanation, Hold, Mover};
pub use heartbeat::{Heartbeat, WorkerDetails, WorkerHealth};
pub use live::{
    Duplicates, LiveBatchHead, LiveBatchRequest, LiveEntry, LiveTriggerResponse, RejectPage,
    RejectsMode,
};
pub use options::{
    BatchOptions, BreakerRule, CallWindow, NotATimeOfDay, RetryRule, TimeOfDay, Weekday,
};
pub use report::{
    AttemptTotals, Outage, Outages, Pause, Pauses, Percentiles, Report, ReportedInvariant, Retries,
    StepDurations, TimeoutEvidence, Timeouts,
};
pub(crate) use schema::spellings;
pub use suppression::{
    OptOutRequest, OptOutResponse, SuppressRequest, SuppressResponse, SuppressionPage,
    SuppressionView,
};
