use dialtone_clock::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{CallId, CallState, EntryId, EntryState, Outcome, PlannedOutcome};

/// One page of `GET /batch/{batch_id}/entries`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EntryPage {
    /// The entries, by place in the batch.
    pub items: Vec<EntryView>,
    /// Pass as `cursor` for the next page; null on the last one. A page may have fewer entries
    /// than asked for and still a next one.
    pub next_cursor: Option<String>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EntryView {
    /// The entry.
    pub entry_id: EntryId,
    /// Place in the batch, from 1.
    pub seq: u32,
    /// The number, redacted unless asked for with `reveal=true`.
    pub to: String,
    /// Where the entry stands.
    pub state: EntryState,
    /// What came of its last attempt.
    pub outcome: Option<Outcome>,
    /// What a test batch planned for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_outcome: Option<PlannedOutcome>,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptView>,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// The call.
    pub call_id: CallId,
    /// Its number, from 1.
    pub attempt: u32,
    /// Where the call stands.
    pub state: CallState,
    /// The LiveKit room.
    pub room: String,
    /// The LiveKit dispatch, once LiveKit has answered.
    pub dispatch_id: Option<String>,
    /// When LiveKit's answer was recorded. An agent may be faster: then the dial was claimed
    /// before.
    pub dispatched_at: Option<Timestamp>,
    /// When the dial was claimed.
    pub claimed_at: Option<Timestamp>,
    /// When the attempt ended.
    pub ended_at: Option<Timestamp>,
    /// How and why it ended.
    pub reason: Option<String>,
}
