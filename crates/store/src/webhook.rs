use serde::{Deserialize, Serialize};

/// An endpoint that is told of a tenant's batches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id, `whk_..`; its signing key follows from it.
    pub id: String,
    /// Where to.
    pub url: String,
    /// What it is told of.
    pub events: WebhookEvents,
}

/// What an endpoint is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookEvents {
    /// The end of a batch.
    pub batch: bool,
    /// The end of each entry.
    pub entry: bool,
}
