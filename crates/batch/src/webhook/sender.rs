use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dialtone_auth::{WebhookKeys, sign_webhook, unix_now};
use dialtone_clock::{Clock, Timestamp, rng_for};
use dialtone_contract::limits;
use dialtone_store::{Lane, OutboxItem, OutboxRow, Store, StoreError};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use rand::Rng as _;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::About;
use super::endpoints::Endpoints;
use super::{Delivery, WebhookClient};

/// Wall time after which a message whose sender died is sent by the next one.
const AGAIN: Duration = Duration::from_secs(15);

/// Wall time after which the sender looks by itself.
const POLL: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// What the sender counts.
#[derive(Clone, Default)]
pub struct WebhookMetrics {
    deliveries: Family<ResultLabel, Counter>,
}

impl WebhookMetrics {
    /// Metrics that `registry` shows.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Messages to webhooks by what became of them: sent, failed, given_up";
        registry.register("webhook_deliveries", help, metrics.deliveries.clone());
        metrics
    }

    fn count(&self, result: &'static str) {
        self.deliveries.get_or_create(&ResultLabel { result }).inc();
    }
}

/// Sends what webhooks are to be told, at least once, each endpoint at its own pace.
pub struct WebhookSender {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    client: Arc<dyn WebhookClient>,
    keys: WebhookKeys,
    metrics: WebhookMetrics,
    endpoints: Endpoints,
    places: Arc<Semaphore>,
    /// Messages that are under way or wait for their endpoint here: handed out again
    /// meanwhile, they are not sent a second time.
    under_way: Mutex<HashSet<i64>>,
}

/// What became of one message.
enum Sent {
    Done,
    /// Not tried, or not taken; to be tried after this wall time, tried so many times by now.
    Later(Duration, u32),
}

impl WebhookSender {
    /// A sender over `store`; any number may run.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        client: Arc<dyn WebhookClient>,
        keys: WebhookKeys,
        metrics: WebhookMetrics,
    ) -> Self {
        let places = Arc::new(Semaphore::new(limits::WEBHOOKS_AT_ONCE));
        let (endpoints, under_way) = (Endpoints::default(), Mutex::default());
        Self { store, clock, client, keys, metrics, endpoints, places, under_way }
    }

    /// Sends until `shutdown`; what is under way then is sent again by the next sender.
    pub async fn run(self, shutdown: CancellationToken) {
        let (this, tasks) = (Arc::new(self), TaskTracker::new());
        let mut changes = this.store.changes();
        while !shutdown.is_cancelled() {
            changes.mark_unchanged();
            match this.tick(&tasks).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "webhooks are not sent, trying again"),
            }
            let freed = async {
                if this.places.available_permits() == 0 {
                    drop(this.places.acquire().await);
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                _ = changes.changed() => {}
                () = freed => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Takes up as many due messages as there are places; whether there were any.
    async fn tick(self: &Arc<Self>, tasks: &TaskTracker) -> Result<bool, StoreError> {
        let free = u32::try_from(self.places.available_permits()).unwrap_or(u32::MAX);
        if free == 0 {
            return Ok(false);
        }
        let now = self.clock.now();
        let due = self.store.due_outbox(Lane::Webhook, now, self.after(AGAIN), free).await?;
        let any = !due.is_empty();
        for row in due {
            if !self.under_way().insert(row.id) {
                continue;
            }
            let place = Arc::clone(&self.places).try_acquire_owned();
            let place = place.expect("no more are taken up than places are free");
            let this = Arc::clone(self);
            tasks.spawn(async move {
                if let Err(error) = this.handle(&row).await {
                    // It falls due again by itself.
                    tracing::warn!(%error, outbox.id = row.id, "a webhook message waits");
                }
                this.under_way().remove(&row.id);
                drop(place);
            });
        }
        Ok(any)
    }

    fn under_way(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.under_way.lock().expect("no holder of the lock panics")
    }

    /// Product time after so much wall time from now.
    fn after(&self, wall: Duration) -> Timestamp {
        self.clock.now() + self.clock.scale().product(wall)
    }

    async fn handle(&self, row: &OutboxRow) -> Result<(), StoreError> {
        let OutboxItem::Webhook { webhook, url, batch, seq, at } = &row.item else {
            return self.store.outbox_done(&[row.id]).await;
        };
        let about = About { tenant: &row.tenant, webhook, batch, seq: *seq, at: *at };
        match self.send(row, &about, url).await? {
            Sent::Done => self.store.outbox_done(&[row.id]).await,
            Sent::Later(wall, tries) => {
                self.store.outbox_later(row.id, self.after(wall), tries).await
            }
        }
    }

    async fn send(
        &self,
        row: &OutboxRow,
        about: &About<'_>,
        url: &str,
    ) -> Result<Sent, StoreError> {
        let endpoint = self.endpoints.get(url);
        if let Some(left) = endpoint.rests_for(Instant::now()) {
            return Ok(self.rests(left, row, about));
        }
        let _place = endpoint.places.acquire().await.expect("never closed");
        // It may have failed for those before.
        if let Err(left) = endpoint.begin(Instant::now()) {
            return Ok(self.rests(left, row, about));
        }
        let Some(body) = about.body(&*self.store).await? else { return Ok(Sent::Done) };
        let key = self.keys.of(about.tenant.as_str(), about.webhook);
        let now_s = unix_now();
        let delivery = Delivery {
            url: url.to_owned(),
            idempotency_key: about.id(),
            signature: sign_webhook(&key, now_s, &body),
            body,
        };
        let posted = tokio::time::timeout(limits::WEBHOOK_TIMEOUT, self.client.post(&delivery));
        let posted = posted.await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let Err(why) = posted else {
            endpoint.answered();
            self.metrics.count("sent");
            return Ok(Sent::Done);
        };
        endpoint.failed(Instant::now());
        self.metrics.count("failed");
        let (id, tries) = (about.webhook, row.tries);
        tracing::info!(why, webhook.id = id, tries, message = about.id(), "a webhook did not take");
        Ok(self.later(about, &why, backoff(row), row.tries))
    }

    /// What becomes of a message to an endpoint that rests.
    fn rests(&self, left: Duration, row: &OutboxRow, about: &About<'_>) -> Sent {
        // Not all at the same moment.
        let spread = limits::WEBHOOK_REST.mul_f64(chance(row));
        // It was handed out, which is no try.
        let tries = row.tries.saturating_sub(1);
        self.later(about, "the endpoint does not answer", left + spread, tries)
    }

    /// To be tried again, or given up for its age.
    fn later(&self, about: &About<'_>, why: &str, wait: Duration, tries: u32) -> Sent {
        let age = self.clock.now().since(about.at);
        if age < self.clock.scale().product(limits::WEBHOOK_AGE_MAX) {
            return Sent::Later(wait, tries);
        }
        self.metrics.count("given_up");
        let id = about.webhook;
        tracing::error!(
            why,
            webhook.id = id,
            tries,
            message = about.id(),
            "a webhook was given up"
        );
        Sent::Done
    }
}

/// A share from 0 to 1 that depends on the message and on how often it was tried.
fn chance(row: &OutboxRow) -> f64 {
    let parts = [b"webhook".as_slice(), &row.id.to_le_bytes(), &row.tries.to_le_bytes()];
    f64::from(rng_for(0, &parts).next_u32()) / f64::from(u32::MAX)
}

/// Wall time before the next try: doubling with each, and between half and the whole of
/// it by chance.
fn backoff(row: &OutboxRow) -> Duration {
    let doubled =
        limits::WEBHOOK_BACKOFF * 2_u32.saturating_pow(row.tries.saturating_sub(1).min(16));
    let whole = doubled.min(limits::WEBHOOK_BACKOFF_MAX);
    whole / 2 + (whole / 2).mul_f64(chance(row))
}
