use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dialtone_auth::livekit::{ApiKey, Claims};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use livekit_protocol as proto;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::ids;
use crate::options::{Options, OptionsError};

/// Events that may wait for one room and address (livekit's `resource_url_notifier.go`).
const QUEUE: usize = 200;
/// Events on their way at once, over all rooms.
const IN_FLIGHT: usize = 32;
/// The receiver has so long for one delivery.
const DELIVERY: Duration = Duration::from_secs(10);
/// Longest pause between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A webhook's token is good for five minutes.
const TOKEN_TTL_S: u64 = 300;

/// Posts events, in order for each room, each signed (protocol/webhook).
#[derive(Clone)]
pub(crate) struct Webhooks(Arc<Inner>);

struct Inner {
    urls: Vec<Uri>,
    key: ApiKey,
    max_age: Duration,
    backoff: Duration,
    client: Client<HttpConnector, Body>,
    /// Waiting events by address and room; an entry is there while a task works it off.
    queues: Mutex<HashMap<(usize, String), VecDeque<Event>>>,
    slots: Semaphore,
    dropped: AtomicU64,
    tasks: TaskTracker,
}

struct Event {
    body: Bytes,
    made: Instant,
}

impl Webhooks {
    pub(crate) fn new(options: &Options, tasks: TaskTracker) -> Result<Self, OptionsError> {
        let urls = options.webhooks.iter().map(|url| address(url)).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Inner {
            urls,
            key: options.signing_key()?,
            max_age: options.timings.webhook_age,
            backoff: options.timings.webhook_backoff,
            client: Client::builder(TokioExecutor::new()).build_http(),
            queues: Mutex::default(),
            slots: Semaphore::new(IN_FLIGHT),
            dropped: AtomicU64::new(0),
            tasks,
        })))
    }

    /// Events that were dropped: their queue was full, or they had grown too old.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn room(&self, event: &str, room: &proto::Room) {
        self.push(event, &room.name, |e| e.room = Some(room.clone()));
    }

    pub(crate) fn participant(
        &self,
        event: &str,
        room: &proto::Room,
        participant: &proto::ParticipantInfo,
    ) {
        self.push(event, &room.name, |e| {
            e.room = Some(room.clone());
            e.participant = Some(participant.clone());
        });
    }

    pub(crate) fn job(&self, event: &str, job: &proto::Job) {
        let room = job.room.clone().unwrap_or_default();
        self.push(event, &room.name, |e| {
            e.room = Some(room.clone());
            e.job = Some(job.clone());
        });
    }

    fn push(&self, event: &str, room: &str, fill: impl FnOnce(&mut proto::WebhookEvent)) {
        if self.0.urls.is_empty() {
            return;
        }
        // Not of the server's own random stream: with webhooks or without, the choice
        // among workers is the same.
        let stamp = format!("{event}/{room}/{}", ids::now_ns());
        let mut message = proto::WebhookEvent {
            event: event.to_owned(),
            id: ids::derived("EV_", &stamp),
            created_at: ids::now_ms() / 1000,
            ..Default::default()
        };
        fill(&mut message);
        let Ok(body) = serde_json::to_vec(&message) else { return };
        let body = Bytes::from(body);
        for index in 0..self.0.urls.len() {
            self.enqueue(
                (index, room.to_owned()),
                Event { body: body.clone(), made: Instant::now() },
            );
        }
    }

    fn enqueue(&self, key: (usize, String), event: Event) {
        let mut queues = self.queues();
        match queues.get_mut(&key) {
            Some(queue) if queue.len() >= QUEUE => self.lost(&key.1, "queue is full"),
            Some(queue) => queue.push_back(event),
            None => {
                queues.insert(key.clone(), VecDeque::from([event]));
                self.0.tasks.spawn(self.clone().work_off(key));
            }
        }
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<(usize, String), VecDeque<Event>>> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self, room: &str, reason: &str) {
        self.0.dropped.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%room, reason, "webhook dropped");
    }

    async fn work_off(self, key: (usize, String)) {
        loop {
            let event = {
                let mut queues = self.queues();
                match queues.get_mut(&key).and_then(VecDeque::pop_front) {
                    Some(event) => event,
                    None => {
                        queues.remove(&key);
                        return;
                    }
                }
            };
            self.deliver(&key, &event).await;
        }
    }

    async fn deliver(&self, key: &(usize, String), event: &Event) {
        let Ok(_slot) = self.0.slots.acquire().await else { return };
        let mut pause = self.0.backoff;
        loop {
            match self.post(&self.0.urls[key.0], &event.body).await {
                Ok(status) if !status.is_server_error() => {
                    if !status.is_success() {
                        tracing::warn!(room = %key.1, %status, "webhook refused");
                    }
                    return;
                }
                Ok(status) => tracing::debug!(room = %key.1, %status, "webhook failed"),
                Err(error) => tracing::debug!(room = %key.1, error, "webhook failed"),
            }
            if event.made.elapsed() + pause > self.0.max_age {
                return self.lost(&key.1, "not delivered in time");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF_MAX);
        }
    }

    async fn post(&self, url: &Uri, body: &Bytes) -> Result<StatusCode, String> {
        let claims = Claims { sha256: STANDARD.encode(Sha256::digest(body)), ..Default::default() };
        let request = Request::post(url.clone())
            .header("Content-Type", "application/webhook+json")
            // The bare token, without `Bearer`.
            .header("Authorization", self.0.key.token(claims, TOKEN_TTL_S))
            .header("User-Agent", "LiveKit")
            .body(Body::from(body.clone()))
            .map_err(|error| error.to_string())?;
        match tokio::time::timeout(DELIVERY, self.0.client.request(request)).await {
            Err(_) => Err(format!("no answer within {DELIVERY:?}")),
            Ok(answer) => answer.map(|a| a.status()).map_err(|error| error.to_string()),
        }
    }
}

fn address(url: &str) -> Result<Uri, OptionsError> {
    let bad = || OptionsError::WebhookUrl(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    if uri.scheme_str() == Some("http") && uri.host().is_some() { Ok(uri) } else { Err(bad()) }
}
