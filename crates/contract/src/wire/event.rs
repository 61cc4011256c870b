use dialtone_clock::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{BatchId, BatchState, EntryId, EntryState, Outcome};

/// One event of a batch, as `data` of its event stream: the event's name is the stream's
/// `event`, its place the stream's `id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// Place in the batch's stream, from 1 without gaps.
    pub event_seq: u64,
    /// Dotted past-tense name.
    pub kind: String,
    /// The entry, for events of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_id: Option<EntryId>,
    /// The attempt, for events of an entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// State before.
    pub from: String,
    /// State after.
    pub to: String,
    /// Outcome after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why, for events of the batch where that needs saying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it happened.
    pub at: Timestamp,
}

/// The `done` that ends an event stream: nothing follows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StreamEnd {
    /// The batch.
    pub batch_id: BatchId,
    /// Where the batch stands.
    pub status: BatchState,
    /// Why it stands there, where that needs saying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// Last event of the batch that the stream has looked at.
    pub event_seq: u64,
    /// The entry, for the stream of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_id: Option<EntryId>,
    /// Where the entry has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<EntryState>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}
