use std::time::Duration;

use dialtone_auth::{Secret, unix_now};
use futures_util::StreamExt as _;
use livekit_protocol as proto;
use livekit_protocol::{signal_request, signal_response};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::JoinError;
use crate::job::Presence;
use crate::socket::{Socket, binary, connect, decode, normal_close, send};

/// How a stay in a room ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// This side left.
    Left,
    /// The server ended it: room deleted or closed, participant removed, identity
    /// taken over, ...
    ByServer(proto::DisconnectReason),
    /// The connection broke.
    ConnectionLost(String),
}

/// How long the server may take to end the connection after a leave request.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A participant in a room, on the signalling level: it is present, others see it
/// come and go, and no media flows.
///
/// Dropping it leaves the room in the background; [`RoomSession::leave`] waits until
/// the server knows.
#[derive(Debug)]
pub struct RoomSession {
    /// The room, `RM_..`.
    pub room_sid: String,
    /// This participant, `PA_..`.
    pub participant_sid: String,
    /// This participant's identity.
    pub identity: String,
    presence: Presence,
    leave: CancellationToken,
    closed: watch::Receiver<Option<Closed>>,
}

impl RoomSession {
    /// Joins over `/rtc` (protocol: livekit_rtc.proto, SignalRequest and
    /// SignalResponse; the first response is the join response).
    pub(crate) async fn join(
        url: &str,
        token: &Secret,
        presence: Presence,
        limit: Duration,
    ) -> Result<Self, JoinError> {
        // `signal_only` is Dialtone's own: the server may call the participant active
        // without a peer connection. Other servers ignore it.
        let path = "/rtc?protocol=16&sdk=rust&auto_subscribe=0&signal_only=1";
        let mut socket = connect(url, path, token.expose(), limit).await?;
        let join = tokio::time::timeout(limit, join_response(&mut socket))
            .await
            .map_err(|_| JoinError::Timeout(limit))??;
        let participant = join.participant.clone().unwrap_or_default();
        let leave = CancellationToken::new();
        let (closed_tx, closed) = watch::channel(None);
        let task = Connection::new(socket, &join, leave.clone());
        tokio::spawn(async move {
            let end = task.run().await;
            closed_tx.send_replace(Some(end));
        });
        Ok(Self {
            room_sid: join.room.map(|room| room.sid).unwrap_or_default(),
            participant_sid: participant.sid,
            identity: participant.identity,
            presence,
            leave,
            closed,
        })
    }

    /// Leaves the room and waits until the server has ended the connection.
    pub async fn leave(&self) -> Closed {
        self.presence.left_by_itself();
        self.leave.cancel();
        self.closed().await
    }

    /// Waits until the stay has ended, whoever ended it.
    pub async fn closed(&self) -> Closed {
        let mut closed = self.closed.clone();
        match closed.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(Closed::Left),
            Err(_) => Closed::ConnectionLost("the connection's task is gone".to_owned()),
        }
    }
}

impl Drop for RoomSession {
    fn drop(&mut self) {
        self.presence.left_by_itself();
        self.leave.cancel();
    }
}

async fn join_response(socket: &mut Socket) -> Result<proto::JoinResponse, JoinError> {
    loop {
        let message = match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => {
                decode::<proto::SignalResponse>(&bytes).map_err(JoinError::Connection)?
            }
            Some(Ok(Message::Close(_))) | None => {
                return Err(JoinError::Ended("connection closed".to_owned()));
            }
            Some(Ok(_)) => continue,
            Some(Err(error)) => return Err(JoinError::Connection(error.to_string())),
        };
        match message.message {
            Some(signal_response::Message::Join(join)) => return Ok(join),
            Some(signal_response::Message::Leave(leave)) => {
                return Err(JoinError::Ended(leave.reason().as_str_name().to_owned()));
            }
            _ => {}
        }
    }
}

struct Connection {
    socket: Socket,
    leave: CancellationToken,
    ping_interval: Duration,
    ping_timeout: Duration,
    heard: Instant,
}

impl Connection {
    fn new(socket: Socket, join: &proto::JoinResponse, leave: CancellationToken) -> Self {
        let seconds = |value: i32, default: u64| {
            Duration::from_secs(u64::try_from(value).ok().filter(|s| *s > 0).unwrap_or(default))
        };
        Self {
            socket,
            leave,
            ping_interval: seconds(join.ping_interval, 5),
            ping_timeout: seconds(join.ping_timeout, 15),
            heard: Instant::now(),
        }
    }

    async fn run(mut self) -> Closed {
        let mut pings = tokio::time::interval(self.ping_interval);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let ended = tokio::select! {
                () = self.leave.cancelled() => return self.leave().await,
                frame = self.socket.next() => self.receive(frame).await,
                _ = pings.tick() => self.ping().await,
            };
            if let Err(end) = ended {
                return end;
            }
        }
    }

    async fn receive(
        &mut self,
        frame: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    ) -> Result<(), Closed> {
        self.heard = Instant::now();
        match frame {
            Some(Ok(Message::Binary(bytes))) => {
                let message =
                    decode::<proto::SignalResponse>(&bytes).map_err(Closed::ConnectionLost)?;
                if let Some(signal_response::Message::Leave(leave)) = message.message {
                    let _ = send(&mut self.socket, normal_close()).await;
                    return Err(Closed::ByServer(leave.reason()));
                }
                Ok(())
            }
            Some(Ok(Message::Close(_))) | None => {
                Err(Closed::ConnectionLost("closed without a leave".to_owned()))
            }
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(Closed::ConnectionLost(error.to_string())),
        }
    }

    async fn ping(&mut self) -> Result<(), Closed> {
        if self.heard.elapsed() > self.ping_timeout {
            return Err(Closed::ConnectionLost(format!("silent for {:?}", self.ping_timeout)));
        }
        let timestamp = i64::try_from(unix_now()).unwrap_or(0) * 1000;
        let ping = signal_request::Message::PingReq(proto::Ping { timestamp, rtt: 0 });
        self.send(ping).await.map_err(Closed::ConnectionLost)
    }

    async fn leave(&mut self) -> Closed {
        let request = signal_request::Message::Leave(proto::LeaveRequest {
            reason: proto::DisconnectReason::ClientInitiated.into(),
            ..Default::default()
        });
        if self.send(request).await.is_ok() {
            let drained = async { while let Some(Ok(_)) = self.socket.next().await {} };
            let _ = tokio::time::timeout(LEAVE_TIMEOUT, drained).await;
        }
        Closed::Left
    }

    async fn send(&mut self, message: signal_request::Message) -> Result<(), String> {
        let request = proto::SignalRequest { message: Some(message) };
        send(&mut self.socket, binary(&request)).await
    }
}
