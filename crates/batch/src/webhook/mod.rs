//! Outbound webhooks: the ends of batches and entries, told to the endpoints that were in
//! force when the batch was taken in. Signed, at least once, in no promised order.

mod body;
mod endpoint;
mod endpoints;
mod sender;

use async_trait::async_trait;
use dialtone_clock::Timestamp;
use dialtone_store::{BatchRow, BatchSpec, EntryRow, OutboxItem, Webhook};

pub use endpoint::{UrlError, check_url, is_forbidden};
pub use sender::{WebhookMetrics, WebhookSender};

/// One message to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Where to.
    pub url: String,
    /// The same for every try, so that the receiver can tell repetitions.
    pub idempotency_key: String,
    /// `X-Dialtone-Signature`.
    pub signature: String,
    /// A JSON document.
    pub body: Vec<u8>,
}

/// Posts deliveries. An implementation follows no redirects, takes only so long, reads
/// only so much, and connects to no address that [`is_forbidden`].
#[async_trait]
pub trait WebhookClient: Send + Sync + 'static {
    /// Posts one; `Ok` once the endpoint has answered with a 2xx.
    ///
    /// # Errors
    /// If it has not, in words without the URL.
    async fn post(&self, delivery: &Delivery) -> Result<(), String>;
}

/// What is told of an entry that ends now.
pub(crate) fn of_entry(spec: &BatchSpec, entry: &EntryRow, at: Timestamp) -> Vec<OutboxItem> {
    let wants = |webhook: &&Webhook| webhook.events.entry;
    let item = |webhook: &Webhook| OutboxItem::Webhook {
        webhook: webhook.id.clone(),
        url: webhook.url.clone(),
        batch: entry.key.batch.clone(),
        seq: Some(entry.key.seq),
        at,
    };
    spec.webhooks.iter().filter(wants).map(item).collect()
}

/// What is told of a batch that ends now.
pub(crate) fn of_batch(batch: &BatchRow, at: Timestamp) -> Vec<OutboxItem> {
    let wants = |webhook: &&Webhook| webhook.events.batch;
    let item = |webhook: &Webhook| OutboxItem::Webhook {
        webhook: webhook.id.clone(),
        url: webhook.url.clone(),
        batch: batch.id.clone(),
        seq: None,
        at,
    };
    batch.spec.webhooks.iter().filter(wants).map(item).collect()
}
