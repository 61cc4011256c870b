use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State as Extract};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::{Sink, Stream, StreamExt as _};
use livekit_protocol as proto;
use livekit_protocol::{server_message, worker_message};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;

use crate::auth::{Right, claims, require};
use crate::dispatch::{redispatch, start};
use crate::ids;
use crate::launch::Launch;
use crate::server::Shared;
use crate::socket::{Socket, accept, asks_for_websocket, close, send};
use crate::worker::{UNWRITTEN, WORKER_QUEUE};

/// `GET /agent`: the worker socket (pkg/service/agentservice.go).
pub(crate) async fn agent(Extract(server): Extract<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let allowed =
        claims(&server.options.keys, &parts).and_then(|claims| require(&claims, Right::Agent));
    if let Err(denied) = allowed {
        return (StatusCode::UNAUTHORIZED, denied.text()).into_response();
    }
    if !asks_for_websocket(&parts.headers) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let shared = Shared::clone(&server);
    accept(&server, Request::from_parts(parts, body), |socket| async move {
        Connection { server: shared, socket, json: AtomicBool::new(false) }.serve().await;
    })
}

struct Connection {
    server: Shared,
    socket: Socket,
    /// Whether the worker speaks protojson in text frames (wsprotocol.go).
    json: AtomicBool,
}

/// What the socket gives.
type Frame = Result<Message, tokio_tungstenite::tungstenite::Error>;

/// Why a connection is over.
enum End {
    /// The worker closed it, or it broke.
    Gone,
    /// The server closes it.
    Close(CloseCode, &'static str),
}

impl Connection {
    async fn serve(mut self) {
        let limit = self.server.options.timings.register;
        let registration = tokio::time::timeout(limit, self.registration()).await;
        let registered = match registration {
            Ok(Ok(registered)) => registered,
            Ok(Err(end)) => return self.end(end).await,
            Err(_) => return self.end(End::Close(CloseCode::Policy, "no registration")).await,
        };
        let (out, messages) = mpsc::channel(WORKER_QUEUE);
        let cut = CancellationToken::new();
        let worker_id = self.server.state().register(registered, out, cut.clone());
        let end = self.work(&worker_id, messages, cut).await;
        let orphaned = self.server.state().deregister(&worker_id);
        if !orphaned.is_empty() {
            let server = Shared::clone(&self.server);
            self.server.spawn(redispatch(server, orphaned));
        }
        self.end(end).await;
    }

    async fn end(&mut self, end: End) {
        if let End::Close(code, reason) = end {
            tracing::debug!(reason, "worker connection closed");
            close(&mut self.socket, code, reason).await;
        }
    }

    /// The first message that is not a ping must be the registration.
    async fn registration(&mut self) -> Result<proto::RegisterWorkerRequest, End> {
        loop {
            let frame = self.socket.next().await;
            match message(frame, &self.json)? {
                None | Some(worker_message::Message::Ping(_)) => {}
                Some(worker_message::Message::Register(registered)) => return Ok(registered),
                Some(_) => return Err(End::Close(CloseCode::Policy, "not registered")),
            }
        }
    }

    /// Reads and writes side by side: a worker that waits for us to read before it reads
    /// on must not be waited for.
    async fn work(
        &mut self,
        worker_id: &str,
        messages: mpsc::Receiver<proto::ServerMessage>,
        cut: CancellationToken,
    ) -> End {
        let (server, json) = (&self.server, &self.json);
        let (sink, stream) = (&mut self.socket).split();
        tokio::select! {
            () = write(server, worker_id, json, sink, messages) => End::Gone,
            end = read(server, worker_id, json, stream) => end,
            () = cut.cancelled() => End::Close(CloseCode::Policy, "too slow"),
            () = server.closing.cancelled() => End::Close(CloseCode::Away, "server stops"),
        }
    }
}

/// Writes the worker's messages, and pings. Returns when the connection is lost.
async fn write(
    server: &Shared,
    worker_id: &str,
    json: &AtomicBool,
    mut sink: impl Sink<Message> + Unpin,
    mut messages: mpsc::Receiver<proto::ServerMessage>,
) {
    let mut pings = pings(server);
    loop {
        let frame = tokio::select! {
            message = messages.recv() => {
                let Some(message) = message else { return };
                // Passed on the way down whenever offers were held back.
                if messages.len() == UNWRITTEN / 2 {
                    server.state().fill_worker(worker_id);
                }
                match frame(&message, json.load(Ordering::Relaxed)) {
                    Some(frame) => frame,
                    None => return,
                }
            }
            _ = pings.tick() => Message::Ping(Vec::new().into()),
        };
        if !send(&mut sink, frame).await {
            return;
        }
    }
}

/// Reads what the worker says, until it is silent for too long.
async fn read(
    server: &Shared,
    worker_id: &str,
    json: &AtomicBool,
    mut stream: impl Stream<Item = Frame> + Unpin,
) -> End {
    let silence = server.options.timings.worker_ping * 3;
    loop {
        let Ok(frame) = tokio::time::timeout(silence, stream.next()).await else {
            return End::Gone;
        };
        match message(frame, json) {
            Ok(Some(message)) => receive(server, worker_id, message),
            Ok(None) => {}
            Err(end) => return end,
        }
    }
}

fn pings(server: &Shared) -> Interval {
    let period = server.options.timings.worker_ping;
    let mut pings = tokio::time::interval_at(Instant::now() + period, period);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings
}

fn receive(server: &Shared, worker_id: &str, message: worker_message::Message) {
    use worker_message::Message as M;
    match message {
        M::Register(_) => {
            // A second registration changes the worker there too; ours does not need it.
            tracing::debug!(worker.id = %worker_id, "second registration ignored");
        }
        M::Availability(answer) => server.state().answered(worker_id, answer),
        M::UpdateWorker(update) => server.state().update_worker(worker_id, &update),
        M::UpdateJob(update) => server.state().update_job(worker_id, &update),
        M::Ping(ping) => {
            let pong = server_message::Message::Pong(proto::WorkerPong {
                last_timestamp: ping.timestamp,
                timestamp: ids::now_ms(),
            });
            if let Some(worker) = server.state().workers.get(worker_id) {
                worker.send(pong);
            }
        }
        M::SimulateJob(request) => simulate(server, worker_id, request),
        M::MigrateJob(request) => server.state().adopt(worker_id, &request.job_ids),
    }
}

/// Offers a job that no dispatch asked for to the worker that wants one.
fn simulate(server: &Shared, worker_id: &str, request: proto::SimulateJobRequest) {
    let launch = Launch {
        job_type: request.r#type(),
        room: request.room.unwrap_or_default().name,
        participant: request.participant,
        dispatch_id: String::new(),
        agent_name: String::new(),
        deployment: String::new(),
        metadata: String::new(),
        attributes: std::collections::HashMap::new(),
        restart_policy: proto::JobRestartPolicy::JrpNever,
        resuming: false,
        only: Some(worker_id.to_owned()),
    };
    start(server, vec![launch]);
}

/// A frame's message; none for a frame of the WebSocket protocol itself. What is no
/// worker message ends the connection.
fn message(
    frame: Option<Frame>,
    json: &AtomicBool,
) -> Result<Option<worker_message::Message>, End> {
    let message = match frame {
        Some(Ok(Message::Binary(bytes))) => proto::WorkerMessage::decode(bytes).ok(),
        Some(Ok(Message::Text(text))) => {
            json.store(true, Ordering::Relaxed);
            serde_json::from_str(text.as_str()).ok()
        }
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => return Ok(None),
        Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
    };
    match message.and_then(|message: proto::WorkerMessage| message.message) {
        Some(message) => Ok(Some(message)),
        None => Err(End::Close(CloseCode::Unsupported, "unknown message")),
    }
}

/// The message as this worker reads it.
fn frame(message: &proto::ServerMessage, json: bool) -> Option<Message> {
    if json {
        serde_json::to_string(message).ok().map(Message::text)
    } else {
        Some(Message::Binary(message.encode_to_vec().into()))
    }
}
