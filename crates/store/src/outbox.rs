use dialtone_clock::Timestamp;
use dialtone_contract::BatchId;
use serde::{Deserialize, Serialize};

/// Whom an outbox item goes to. Each lane is handed out by itself, so that one receiver
/// that does not answer holds up no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// LiveKit.
    LiveKit,
    /// A tenant's webhook.
    Webhook,
}

impl Lane {
    /// Every lane.
    pub const ALL: &'static [Self] = &[Self::LiveKit, Self::Webhook];

    /// The lane's spelling in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LiveKit => "livekit",
            Self::Webhook => "webhook",
        }
    }
}

/// What has to leave the platform after a commit, at least once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OutboxItem {
    /// Close the LiveKit room of an ended attempt, so that whoever is still in it, or
    /// still on the way, finds the door shut.
    DeleteRoom {
        /// The room.
        room: String,
    },
    /// Take back a dispatch that nobody is to serve any more.
    DeleteDispatch {
        /// The room.
        room: String,
        /// LiveKit's id of the dispatch.
        dispatch_id: String,
    },
    /// Tell an endpoint that an entry, or its batch, has ended.
    Webhook {
        /// The endpoint's id.
        webhook: String,
        /// Where it is.
        url: String,
        /// The batch.
        batch: BatchId,
        /// The entry's place; `None` for the batch itself.
        seq: Option<u32>,
        /// When it ended.
        at: Timestamp,
    },
}

impl OutboxItem {
    /// Whom the item goes to.
    pub const fn lane(&self) -> Lane {
        match self {
            Self::DeleteRoom { .. } | Self::DeleteDispatch { .. } => Lane::LiveKit,
            Self::Webhook { .. } => Lane::Webhook,
        }
    }
}
