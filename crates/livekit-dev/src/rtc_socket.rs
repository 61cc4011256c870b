use axum::extract::{Request, State as Extract};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use dialtone_auth::livekit::Claims;
use futures_util::StreamExt as _;
use livekit_protocol as proto;
use livekit_protocol::{signal_request, signal_response};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;

use crate::auth::{claims, join_grant};
use crate::dispatch::start;
use crate::ids;
use crate::room::{SIGNAL_QUEUE, Signal};
use crate::server::Shared;
use crate::socket::{Socket, accept, asks_for_websocket, close, send};

/// Who joins, and how.
struct Join {
    claims: Claims,
    room: String,
    /// The client has no media, and is active as soon as it has joined.
    signal_only: bool,
    /// The client wants its old session back.
    reconnect: bool,
}

/// `GET /rtc` and `GET /rtc/v1`: signalling (pkg/service/rtcservice.go).
pub(crate) async fn rtc(Extract(server): Extract<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let join = match admit(&server, &parts) {
        Ok(join) => join,
        Err(refused) => return refused.into_response(),
    };
    if !asks_for_websocket(&parts.headers) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let shared = Shared::clone(&server);
    accept(&server, Request::from_parts(parts, body), |socket| async move {
        serve(shared, socket, join).await;
    })
}

/// `GET /rtc/validate`: clients ask here why an upgrade failed.
pub(crate) async fn validate(Extract(server): Extract<Shared>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match admit(&server, &parts) {
        Ok(_) => "success".into_response(),
        Err(refused) => refused.into_response(),
    }
}

fn admit(server: &Shared, parts: &Parts) -> Result<Join, (StatusCode, String)> {
    let unauthorized = |denied: crate::auth::Denied| (StatusCode::UNAUTHORIZED, denied.text());
    let claims = claims(&server.options.keys, parts).map_err(unauthorized)?;
    let video = join_grant(&claims).map_err(unauthorized)?;
    if claims.sub.is_empty() {
        return Err((StatusCode::BAD_REQUEST, "identity cannot be empty".to_owned()));
    }
    let query = parts.uri.query().unwrap_or_default();
    let value = |name: &str| {
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(n, _)| *n == name)
    };
    let is_one = |name| matches!(value(name), Some((_, "1" | "true")));
    let room = video.room.clone();
    if room.is_empty() {
        return Err((StatusCode::BAD_REQUEST, "room cannot be empty".to_owned()));
    }
    let request = value("join_request").and_then(|(_, text)| join_request(text));
    let reconnect = is_one("reconnect") || request.is_some_and(|request| request.reconnect);
    Ok(Join { room, signal_only: is_one("signal_only"), reconnect, claims })
}

/// The join request of `/rtc/v1`. A compressed one is not read: what it says beyond
/// the token is not needed without media.
fn join_request(text: &str) -> Option<proto::JoinRequest> {
    let text = text.replace("%3D", "=");
    let bytes = URL_SAFE.decode(&text).or_else(|_| URL_SAFE_NO_PAD.decode(&text)).ok()?;
    let wrapped = proto::WrappedJoinRequest::decode(&*bytes).ok()?;
    match wrapped.compression() {
        proto::wrapped_join_request::Compression::None => {
            proto::JoinRequest::decode(&*wrapped.join_request).ok()
        }
        proto::wrapped_join_request::Compression::Gzip => None,
    }
}

async fn serve(server: Shared, mut socket: Socket, join: Join) {
    if join.reconnect {
        // No session outlives its connection here: the client joins anew.
        let leave = proto::LeaveRequest {
            action: proto::leave_request::Action::Reconnect.into(),
            reason: proto::DisconnectReason::StateMismatch.into(),
            ..Default::default()
        };
        write(&mut socket, signal_response::Message::Leave(leave)).await;
        return close(&mut socket, CloseCode::Normal, "").await;
    }
    let (out, signals) = mpsc::channel(SIGNAL_QUEUE);
    let cut = CancellationToken::new();
    let Some(sid) = enter(&server, &join, out, cut.clone()) else {
        return say_leave(&mut socket, proto::DisconnectReason::JoinFailure).await;
    };
    let mut connection =
        Connection { server, socket, room: join.room, identity: join.claims.sub, sid };
    let reason = connection.run(signals, cut).await;
    if let Some(reason) = reason {
        let Connection { server, room, identity, sid, .. } = &connection;
        server.state().remove(room, identity, Some(sid), reason);
    }
    close(&mut connection.socket, CloseCode::Normal, "").await;
}

/// Lets the participant in, and starts the jobs that this causes.
fn enter(
    server: &Shared,
    join: &Join,
    out: mpsc::Sender<Signal>,
    cut: CancellationToken,
) -> Option<String> {
    let mut launches = Vec::new();
    let sid = {
        let mut state = server.state();
        let (_, dispatch_ids) = state.get_or_create(room_request(join));
        for dispatch_id in dispatch_ids {
            launches.extend(state.launches_of_dispatch(&join.room, &dispatch_id));
        }
        let joined = state.join(&join.room, &join.claims, out, cut)?;
        let sid = joined.participant.unwrap_or_default().sid;
        if join.signal_only {
            state.activate(&join.room, &join.claims.sub, &sid);
        }
        let job_type = proto::JobType::JtParticipant;
        launches.extend(state.launches_of_participant(&join.room, &join.claims.sub, job_type));
        sid
    };
    start(server, launches);
    Some(sid)
}

/// The room that a join creates: as its token's `roomConfig` wants it.
fn room_request(join: &Join) -> proto::CreateRoomRequest {
    let config: proto::RoomConfiguration =
        serde_json::from_value(join.claims.room_config.clone()).unwrap_or_default();
    proto::CreateRoomRequest {
        name: join.room.clone(),
        empty_timeout: config.empty_timeout,
        departure_timeout: config.departure_timeout,
        max_participants: config.max_participants,
        metadata: config.metadata,
        agents: config.agents,
        ..Default::default()
    }
}

async fn write(socket: &mut Socket, message: signal_response::Message) -> bool {
    let response = proto::SignalResponse { message: Some(message) };
    send(socket, Message::Binary(response.encode_to_vec().into())).await
}

async fn say_leave(socket: &mut Socket, reason: proto::DisconnectReason) {
    let leave = proto::LeaveRequest {
        action: proto::leave_request::Action::Disconnect.into(),
        reason: reason.into(),
        ..Default::default()
    };
    write(socket, signal_response::Message::Leave(leave)).await;
    close(socket, CloseCode::Normal, "").await;
}

struct Connection {
    server: Shared,
    socket: Socket,
    room: String,
    identity: String,
    sid: String,
}

impl Connection {
    /// Serves the connection. Gives the reason to remove the participant for, none if
    /// it has been removed already.
    async fn run(
        &mut self,
        mut signals: mpsc::Receiver<Signal>,
        cut: CancellationToken,
    ) -> Option<proto::DisconnectReason> {
        let silence = self.server.options.timings.signal_silence;
        let closing = self.server.closing.clone();
        let mut quiet_until = Instant::now() + silence;
        loop {
            tokio::select! {
                signal = signals.recv() => match signal {
                    Some(Signal::Send(response)) => {
                        let frame = Message::Binary(response.encode_to_vec().into());
                        if !send(&mut self.socket, frame).await {
                            return Some(proto::DisconnectReason::SignalClose);
                        }
                    }
                    Some(Signal::Leave(reason)) => {
                        say_leave(&mut self.socket, reason).await;
                        return None;
                    }
                    None => return None,
                },
                frame = self.socket.next() => {
                    quiet_until = Instant::now() + silence;
                    if let Err(reason) = self.receive(frame).await {
                        return Some(reason);
                    }
                }
                () = tokio::time::sleep_until(quiet_until) => {
                    return Some(proto::DisconnectReason::SignalClose);
                }
                () = cut.cancelled() => return Some(proto::DisconnectReason::SignalClose),
                () = closing.cancelled() => {
                    say_leave(&mut self.socket, proto::DisconnectReason::ServerShutdown).await;
                    return Some(proto::DisconnectReason::ServerShutdown);
                }
            }
        }
    }

    async fn receive(
        &mut self,
        frame: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    ) -> Result<(), proto::DisconnectReason> {
        use signal_request::Message as M;
        let message = match frame {
            Some(Ok(Message::Binary(bytes))) => proto::SignalRequest::decode(bytes).ok(),
            Some(Ok(Message::Text(text))) => serde_json::from_str(text.as_str()).ok(),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => return Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => {
                return Err(proto::DisconnectReason::SignalClose);
            }
        };
        let answer = match message.and_then(|request: proto::SignalRequest| request.message) {
            Some(M::PingReq(ping)) => Some(signal_response::Message::PongResp(proto::Pong {
                last_ping_timestamp: ping.timestamp,
                timestamp: ids::now_ms(),
            })),
            Some(M::Ping(_)) => Some(signal_response::Message::Pong(ids::now_ms())),
            Some(M::AddTrack(track)) => Some(self.add_track(track)),
            Some(M::Leave(_)) => return Err(proto::DisconnectReason::ClientInitiated),
            // Media, subscriptions and what newer clients say.
            _ => None,
        };
        let written = match answer {
            Some(answer) => write(&mut self.socket, answer).await,
            None => true,
        };
        if written { Ok(()) } else { Err(proto::DisconnectReason::SignalClose) }
    }

    /// Notes a track. Without media the announcement is all there is of it; the first
    /// one makes the participant a publisher, which jobs may be waiting for.
    fn add_track(&self, request: proto::AddTrackRequest) -> signal_response::Message {
        let mut state = self.server.state();
        let track = proto::TrackInfo {
            sid: state.id("TR_"),
            r#type: request.r#type,
            name: request.name,
            source: request.source,
            muted: request.muted,
            ..Default::default()
        };
        let room = state.rooms.get_mut(&self.room);
        let participant = room.and_then(|room| room.participants.get_mut(&self.identity));
        let mut launches = Vec::new();
        if let Some(participant) = participant.filter(|p| p.info.sid == self.sid) {
            let first = !participant.info.is_publisher;
            participant.info.is_publisher = true;
            participant.info.tracks.push(track.clone());
            state.announce(&self.room, &self.identity);
            if first {
                let job_type = proto::JobType::JtPublisher;
                launches = state.launches_of_participant(&self.room, &self.identity, job_type);
            }
        }
        drop(state);
        start(&self.server, launches);
        signal_response::Message::TrackPublished(proto::TrackPublishedResponse {
            cid: request.cid,
            track: Some(track),
        })
    }
}
