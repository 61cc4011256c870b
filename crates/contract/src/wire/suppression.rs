use dialtone_clock::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::EntryState;

/// Body of `POST /suppressions`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SuppressRequest {
    /// Numbers that may not be called any more, in E.164.
    #[schema(min_items = 1, max_items = 10_000)]
    pub numbers: Vec<String>,
    /// Where they come from; shown in the listing. `api` if left out.
    #[schema(min_length = 1, max_length = 100)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Answer to `POST /suppressions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SuppressResponse {
    /// Numbers that were not suppressed before.
    pub added: u32,
    /// Numbers that were.
    pub known: u32,
}

/// One page of `GET /suppressions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SuppressionPage {
    /// The suppressed numbers, by id.
    pub items: Vec<SuppressionView>,
    /// Pass as `cursor` for the next page; null when this page is not full.
    pub next_cursor: Option<String>,
}

/// A number that may not be called. The number itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SuppressionView {
    /// Keyed hash of the number, the same for the same number of this tenant.
    pub id: String,
    /// Where it comes from.
    pub source: String,
    /// Since when.
    pub created_at: Timestamp,
}

/// Body of `POST /batch/calls/{call_id}/opt-out`: empty, and may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OptOutRequest {}

/// Answer to an opt-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OptOutResponse {
    /// `false` if the number had been suppressed before.
    pub applied: bool,
    /// State of the entry, which the opt-out leaves as it is: the call goes on to its end.
    pub state: EntryState,
}
