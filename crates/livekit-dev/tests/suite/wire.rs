//! Workers and participants that speak the protocol by hand.

use futures_util::{SinkExt as _, StreamExt as _};
use livekit_protocol as proto;
use prost::Message as _;
use proto::{server_message, signal_request, signal_response, worker_message};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::support::{Server, soon, token};
use dialtone_auth::livekit::{ApiKey, Claims, VideoGrant};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a WebSocket, or gives the status that it was refused with.
pub async fn open(server: &Server, path: &str, token: &str) -> Result<Socket, u16> {
    let mut request = format!("{}{path}", server.url()).into_client_request().expect("an address");
    let bearer = format!("Bearer {token}").parse().expect("a header");
    request.headers_mut().insert("Authorization", bearer);
    match soon("an upgrade", tokio_tungstenite::connect_async(request)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// The next message of the protocol above WebSocket; none once closed.
async fn next(socket: &mut Socket) -> Option<Message> {
    loop {
        match soon("a message", socket.next()).await {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
            Some(Ok(message)) => return Some(message),
        }
    }
}

/// A worker.
pub struct RawWorker {
    pub socket: Socket,
    pub worker_id: String,
}

impl RawWorker {
    pub async fn connect(server: &Server) -> Self {
        let grant = VideoGrant { agent: true, ..Default::default() };
        let socket = open(server, "/agent", &token("", grant)).await.expect("an upgrade");
        Self { socket, worker_id: String::new() }
    }

    pub async fn register(server: &Server, name: &str) -> Self {
        Self::register_for(server, name, proto::JobType::JtRoom).await
    }

    pub async fn register_for(server: &Server, name: &str, job_type: proto::JobType) -> Self {
        let mut worker = Self::connect(server).await;
        let request = proto::RegisterWorkerRequest {
            agent_name: name.into(),
            r#type: job_type.into(),
            ..Default::default()
        };
        worker.send(worker_message::Message::Register(request)).await;
        match worker.recv().await {
            Some(server_message::Message::Register(response)) => {
                worker.worker_id = response.worker_id;
            }
            other => panic!("{other:?}"),
        }
        worker
    }

    pub async fn send(&mut self, message: worker_message::Message) {
        let message = proto::WorkerMessage { message: Some(message) };
        let frame = Message::Binary(message.encode_to_vec().into());
        self.socket.send(frame).await.expect("written");
    }

    /// The server's next message; none once it has closed.
    pub async fn recv(&mut self) -> Option<server_message::Message> {
        let message = next(&mut self.socket).await?;
        let bytes = message.into_data();
        proto::ServerMessage::decode(bytes).expect("a server message").message
    }

    pub async fn offer(&mut self) -> proto::AvailabilityRequest {
        match self.recv().await {
            Some(server_message::Message::Availability(offer)) => offer,
            other => panic!("expected an offer, got {other:?}"),
        }
    }

    pub async fn answer(&mut self, job_id: &str, available: bool) {
        let answer =
            proto::AvailabilityResponse { job_id: job_id.into(), available, ..Default::default() };
        self.send(worker_message::Message::Availability(answer)).await;
    }

    pub async fn assignment(&mut self) -> proto::JobAssignment {
        match self.recv().await {
            Some(server_message::Message::Assignment(assignment)) => assignment,
            other => panic!("expected an assignment, got {other:?}"),
        }
    }

    /// Takes the next job.
    pub async fn accept(&mut self) -> proto::JobAssignment {
        let job = self.offer().await.job.expect("a job");
        self.answer(&job.id, true).await;
        self.assignment().await
    }

    pub async fn status(&mut self, status: proto::WorkerStatus, load: f32) {
        let update =
            proto::UpdateWorkerStatus { status: Some(status.into()), load, ..Default::default() };
        self.send(worker_message::Message::UpdateWorker(update)).await;
    }

    /// Ends a job.
    pub async fn finish(&mut self, job_id: &str, status: proto::JobStatus) {
        let update = proto::UpdateJobStatus {
            job_id: job_id.into(),
            status: status.into(),
            ..Default::default()
        };
        self.send(worker_message::Message::UpdateJob(update)).await;
    }

    /// Waits until the server has dealt with everything sent so far.
    pub async fn settle(&mut self) {
        self.send(worker_message::Message::Ping(proto::WorkerPing { timestamp: 7 })).await;
        match self.recv().await {
            Some(server_message::Message::Pong(pong)) => assert_eq!(pong.last_timestamp, 7),
            other => panic!("expected a pong, got {other:?}"),
        }
    }
}

/// A participant.
pub struct Peer {
    socket: Socket,
    pub joined: proto::JoinResponse,
}

impl Peer {
    /// Joins; `active` says that it has no media to wait for.
    pub async fn join(server: &Server, room: &str, identity: &str, active: bool) -> Self {
        let video = VideoGrant { room_join: true, room: room.into(), ..Default::default() };
        let claims = Claims { sub: identity.into(), video: Some(video), ..Default::default() };
        Self::with(server, claims, active).await
    }

    pub async fn with(server: &Server, claims: Claims, active: bool) -> Self {
        let token = ApiKey::dev().token(claims, 60);
        Self::with_token(server, &token, active).await
    }

    pub async fn with_token(server: &Server, token: &str, active: bool) -> Self {
        let path = if active { "/rtc?signal_only=1" } else { "/rtc" };
        let socket = open(server, path, token).await.expect("an upgrade");
        let mut peer = Self { socket, joined: proto::JoinResponse::default() };
        match peer.recv().await {
            Some(signal_response::Message::Join(joined)) => peer.joined = joined,
            other => panic!("expected a join response, got {other:?}"),
        }
        peer
    }

    pub async fn recv(&mut self) -> Option<signal_response::Message> {
        let message = next(&mut self.socket).await?;
        proto::SignalResponse::decode(message.into_data()).expect("a response").message
    }

    pub async fn send(&mut self, message: signal_request::Message) {
        let message = proto::SignalRequest { message: Some(message) };
        let frame = Message::Binary(message.encode_to_vec().into());
        self.socket.send(frame).await.expect("written");
    }

    /// The reason that the server ends the stay for.
    pub async fn left(&mut self) -> proto::DisconnectReason {
        loop {
            match self.recv().await {
                Some(signal_response::Message::Leave(leave)) => return leave.reason(),
                Some(_) => {}
                None => panic!("closed without a leave"),
            }
        }
    }

    /// The next state that the server tells of `identity`.
    pub async fn sees(&mut self, identity: &str) -> proto::participant_info::State {
        loop {
            match self.recv().await {
                Some(signal_response::Message::Update(update)) => {
                    let found = update.participants.iter().find(|p| p.identity == identity);
                    if let Some(found) = found {
                        return found.state();
                    }
                }
                Some(_) => {}
                None => panic!("closed"),
            }
        }
    }
}
