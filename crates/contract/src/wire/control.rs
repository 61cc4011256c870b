use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::{BatchId, BatchState, CancelMode, EntryId, EntryState};

/// Body of `POST /batch/batch-cancel/{batch_id}`; may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// What happens to calls under way.
    #[serde(default = "drain")]
    pub mode: CancelMode,
}

fn drain() -> CancelMode {
    CancelMode::Drain
}

impl Default for CancelRequest {
    fn default() -> Self {
        Self { mode: drain() }
    }
}

/// What a patch says of one limit: nothing, `null` (what the trigger asked for holds
/// again), or a value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum PatchedLimit<T> {
    /// The field is not there.
    #[default]
    Keep,
    /// `null`.
    Reset,
    /// A value.
    To(T),
}

impl<T: Copy> PatchedLimit<T> {
    /// The value, if there is one.
    pub fn asked(&self) -> Option<T> {
        match self {
            Self::To(value) => Some(*value),
            Self::Keep | Self::Reset => None,
        }
    }

    fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }
}

impl<T: Serialize> Serialize for PatchedLimit<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::To(value) => value.serialize(serializer),
            Self::Keep | Self::Reset => serializer.serialize_none(),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for PatchedLimit<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Reset, Self::To))
    }
}

/// Body of `PATCH /batch/{batch_id}`: limits that hold from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchPatch {
    /// Calls in flight at once.
    #[serde(default, skip_serializing_if = "PatchedLimit::is_keep")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 10_000)]
    pub max_concurrent: PatchedLimit<u32>,
    /// Calls begun per second.
    #[serde(default, skip_serializing_if = "PatchedLimit::is_keep")]
    #[schema(value_type = Option<f64>, minimum = 0.001, maximum = 10_000)]
    pub calls_per_second: PatchedLimit<f64>,
}

/// Answer to an order to a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchControlled {
    /// The batch.
    pub batch_id: BatchId,
    /// Where it stands now.
    pub status: BatchState,
    /// `false` if it stood there before.
    pub applied: bool,
}

/// Answer to an order to an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EntryControlled {
    /// The entry.
    pub entry_id: EntryId,
    /// Where it stands now.
    pub state: EntryState,
    /// `false` if it stood there before.
    pub applied: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_tells_nothing_from_null() {
        let patch = |text| serde_json::from_str::<BatchPatch>(text).expect("a patch");
        assert_eq!(patch("{}"), BatchPatch::default());
        let reset = patch(r#"{"max_concurrent":null,"calls_per_second":2.5}"#);
        assert_eq!(reset.max_concurrent, PatchedLimit::Reset);
        assert_eq!(reset.calls_per_second, PatchedLimit::To(2.5));
        let text = serde_json::to_string(&reset).expect("plain data");
        assert_eq!(text, r#"{"max_concurrent":null,"calls_per_second":2.5}"#);
    }
}
