//! Events, as their receiver sees them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use dialtone_auth::livekit::ApiKey;
use dialtone_livekit_dev::Mode;
use livekit_protocol as proto;
use proto::signal_request;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::support::{CREATE_ROOM, Server, create, soon};
use crate::wire::{Peer, RawWorker};

struct Receiver {
    events: mpsc::UnboundedSender<Value>,
    /// So many deliveries are answered with an error first.
    failures: AtomicUsize,
}

/// A receiver that checks what it gets; gives its address and the events.
async fn receiver(failures: usize) -> (String, mpsc::UnboundedReceiver<Value>) {
    let (events, received) = mpsc::unbounded_channel();
    let state = Arc::new(Receiver { events, failures: AtomicUsize::new(failures) });
    let router = Router::new().route("/hook", post(receive)).with_state(state);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, router).await.expect("the receiver runs") });
    (format!("http://{address}/hook"), received)
}

async fn receive(
    State(receiver): State<Arc<Receiver>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let less = |left: usize| left.checked_sub(1);
    if receiver.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    assert_eq!(header("content-type"), "application/webhook+json");
    assert_eq!(header("user-agent"), "LiveKit");
    let claims = ApiKey::dev().verify(&header("authorization")).expect("signed, without Bearer");
    let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(&body));
    assert_eq!(claims.sha256, digest);
    let event = serde_json::from_slice(&body).expect("JSON");
    receiver.events.send(event).expect("the test listens");
    StatusCode::OK
}

async fn names(events: &mut mpsc::UnboundedReceiver<Value>, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..count {
        let event = soon("an event", events.recv()).await.expect("an event");
        assert!(event["id"].as_str().expect("an id").starts_with("EV_"));
        assert!(event["createdAt"].is_string());
        names.push(event["event"].as_str().expect("a name").to_owned());
    }
    names
}

async fn with_hook(mode: Mode, url: &str) -> Server {
    Server::with(mode, |options| {
        options.webhooks = vec![url.to_owned()];
        options.timings.webhook_backoff = Duration::from_millis(5);
        options.timings.room_second = Duration::from_millis(1);
    })
    .await
}

#[tokio::test]
async fn a_rooms_life_is_told_in_order_even_past_failures() {
    let (url, mut events) = receiver(2).await;
    let server = with_hook(Mode::Oss, &url).await;
    let request = proto::CreateRoomRequest {
        name: "r".into(),
        departure_timeout: 1,
        empty_timeout: 100_000,
        ..Default::default()
    };
    let _: proto::Room = server.call(create(), CREATE_ROOM, request).await.expect("a room");
    let silent = Peer::join(&server, "r", "silent", false).await;
    let mut active = Peer::join(&server, "r", "active", true).await;
    drop(silent);
    active.sees("silent").await;
    active.send(signal_request::Message::Leave(proto::LeaveRequest::default())).await;
    assert_eq!(
        names(&mut events, 5).await,
        [
            "room_started",
            "participant_joined",
            "participant_connection_aborted",
            "participant_left",
            "room_finished"
        ]
    );
    assert_eq!(server.handle.workers().webhooks_dropped, 0);
}

#[tokio::test]
async fn a_receiver_that_never_answers_costs_events_and_nothing_else() {
    let server = Server::with(Mode::Oss, |options| {
        // A port that nobody listens on.
        options.webhooks = vec!["http://127.0.0.1:1/hook".into()];
        options.timings.webhook_backoff = Duration::from_millis(1);
        options.timings.webhook_age = Duration::from_millis(20);
    })
    .await;
    let _peer = Peer::join(&server, "r", "p", true).await;
    crate::support::eventually("the drops", async || {
        (server.handle.workers().webhooks_dropped == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn queue_tells_of_jobs_too() {
    let (url, mut events) = receiver(0).await;
    let server = with_hook(Mode::Queue, &url).await;
    let mut worker = RawWorker::register(&server, "a").await;
    server.dispatch("r", "a").await;
    let job = worker.accept().await.job.expect("a job");
    worker.finish(&job.id, proto::JobStatus::JsSuccess).await;
    let told = names(&mut events, 3).await;
    assert_eq!(told, ["room_started", "agent_job_started", "agent_job_ended"]);
}

#[tokio::test]
async fn unusable_webhooks_are_refused_at_the_start() {
    for bad in ["https://h/x", "nonsense", "http://"] {
        let mut options = dialtone_livekit_dev::Options::new(vec![ApiKey::dev()], Mode::Oss);
        options.webhooks = vec![bad.into()];
        assert!(dialtone_livekit_dev::LivekitDev::new(options).is_err(), "{bad}");
    }
}
