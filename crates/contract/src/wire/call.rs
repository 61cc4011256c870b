use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{CallId, EntryId, EntryState, Outcome};

/// Body of `POST /batch/calls/{call_id}/claim`; may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    /// Who claims: the LiveKit job. The same claimer asking again gets the same
    /// answer; without a claimer no repetition can be told from a rival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimer: Option<String>,
}

/// The dial is yours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimResponse {
    /// The attempt that may dial.
    pub attempt: u32,
    /// The number to dial.
    pub to: String,
    /// Wall time in which the whole call must be over; hang up before it.
    pub budget_ms: u64,
    /// Wall time between heartbeats.
    pub heartbeat_ms: u64,
}

/// What a heartbeat says of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeartbeatState {
    /// The callee is being rung.
    Ringing,
    /// The callee has answered.
    InCall,
}

/// Body of `POST /batch/calls/{call_id}/heartbeat`. Unknown fields are let through,
/// so that newer agents can talk to older servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatRequest {
    /// Rises with every beat of this call, one that is sent again included: a beat whose
    /// number is no higher than the last one's is answered and not counted.
    pub seq: u64,
    /// Where the call stands.
    pub state: HeartbeatState,
}

/// Answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatResponse {
    /// `false`: hang up now.
    #[serde(rename = "continue")]
    pub go_on: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `status` of a call, as its agent reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportedStatus {
    /// The callee is being rung.
    Ringing,
    /// The callee has answered.
    InCall,
    /// The call is over.
    Ended,
    /// The call broke.
    Failed,
}

/// Body of `POST /batch/calls/{call_id}/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallStatusRequest {
    /// Where the call stands now.
    pub status: ReportedStatus,
    /// Why, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Answer to a status: whether it changed anything, and what the entry is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallStatusResponse {
    /// `false` if it had been said before.
    pub applied: bool,
    /// State of the entry.
    pub state: EntryState,
}

/// Body of `POST /batch/entry-completed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EntryCompletedRequest {
    /// The call that ended.
    pub call_id: CallId,
    /// Its entry.
    pub entry_id: EntryId,
    /// Its attempt.
    pub attempt: u32,
    /// What came of it: `completed`, `failed`, `no_answer`, `busy`, `declined` or `voicemail`.
    pub status: Outcome,
    /// How long the call lasted, in product milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Why, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Answer to a callback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EntryCompletedResponse {
    /// `false` if the same outcome had been recorded before.
    pub applied: bool,
    /// State of the entry.
    pub state: EntryState,
    /// Outcome of the entry.
    pub outcome: Option<Outcome>,
}
