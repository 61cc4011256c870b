use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::BatchOptions;
use crate::{BatchId, BatchState, FieldError, JobId};

/// Body of `POST /batch/trigger-batch-call` but for its `entries`, which are read row by
/// row. With a table as body, these are query parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LiveBatchHead {
    /// The voice; must exist.
    pub voice_id: String,
    /// The user of the tenant who asks; must exist.
    pub initiated_by: i64,
    /// The configured conversational agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<i64>,
    /// Stored until telephony exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_number: Option<String>,
    /// How the batch is worked off.
    #[serde(default)]
    pub options: BatchOptions,
    /// What becomes of the batch if rows of it are bad.
    #[serde(default)]
    pub rejects: RejectsMode,
}

/// Body of `POST /batch/trigger-batch-call`: a [`LiveBatchHead`] with its entries, for the
/// API reference; no reader holds it whole.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LiveBatchRequest {
    /// The voice; must exist.
    pub voice_id: String,
    /// The user of the tenant who asks; must exist.
    pub initiated_by: i64,
    /// The configured conversational agent.
    #[serde(default)]
    pub agent_id: Option<i64>,
    /// Stored until telephony exists.
    #[serde(default)]
    pub from_number: Option<String>,
    /// Who to call, up to a million.
    #[schema(min_items = 1)]
    pub entries: Vec<LiveEntry>,
    /// How the batch is worked off.
    #[serde(default)]
    pub options: BatchOptions,
    /// What becomes of the batch if rows of it are bad.
    #[serde(default)]
    pub rejects: RejectsMode,
}

/// What becomes of an upload with bad rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RejectsMode {
    /// One bad row refuses the whole upload.
    #[default]
    Refuse,
    /// Bad rows are left out and reported.
    Report,
}

/// What becomes of a number that stands in a batch twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// Every row with it but the first is bad.
    #[default]
    Refuse,
    /// It is called once for each row.
    Allow,
}

/// One of the `entries` of `POST /batch/trigger-batch-call`.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LiveEntry {
    /// Who to call, in E.164.
    #[schema(pattern = r"^\+[1-9][0-9]{6,14}$")]
    pub to: String,
    /// What the agent knows of this call.
    #[schema(value_type = Option<Object>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variables: Option<Map<String, Value>>,
    /// IANA name of the recipient's time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

impl fmt::Debug for LiveEntry {
    /// Without number and variables: both are personal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveEntry").field("timezone", &self.timezone).finish_non_exhaustive()
    }
}

/// Answer to a live trigger (202).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveTriggerResponse {
    /// The batch.
    pub batch_id: BatchId,
    /// The pipeline run, stable over restarts.
    pub job_id: JobId,
    /// Always `accepted`.
    pub status: BatchState,
    /// Rows that became entries.
    pub accepted: u32,
    /// Rows that were left out.
    pub rejected: u32,
    /// The first of those that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// One page of `GET /batch/{batch_id}/rejects`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RejectPage {
    /// The rows that were left out, by place in the upload.
    pub items: Vec<FieldError>,
    /// Pass as `cursor` for the next page; null when this page is not full.
    pub next_cursor: Option<String>,
}
