use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dialtone_auth::livekit::Claims;
use livekit_protocol as proto;
use livekit_protocol::participant_info::{Kind, State as Presence};
use livekit_protocol::signal_response;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::dispatch::Dispatch;
use crate::ids;
use crate::state::State;

/// livekit-server's defaults (config.go).
const EMPTY_TIMEOUT_S: u32 = 300;
const DEPARTURE_TIMEOUT_S: u32 = 20;

/// Messages that may wait for one participant.
pub(crate) const SIGNAL_QUEUE: usize = 256;

/// What a participant's connection is told.
pub(crate) enum Signal {
    /// Send this.
    Send(Box<proto::SignalResponse>),
    /// Say that it is over, and end.
    Leave(proto::DisconnectReason),
}

/// A room.
pub(crate) struct Room {
    pub(crate) info: proto::Room,
    pub(crate) created: Instant,
    /// When the last participant that counts left.
    pub(crate) last_left: Option<Instant>,
    /// By identity.
    pub(crate) participants: BTreeMap<String, Participant>,
    /// By dispatch id.
    pub(crate) dispatches: BTreeMap<String, Dispatch>,
}

/// A participant.
pub(crate) struct Participant {
    pub(crate) info: proto::ParticipantInfo,
    pub(crate) joined: Instant,
    pub(crate) active: bool,
    pub(crate) out: mpsc::Sender<Signal>,
    pub(crate) cut: CancellationToken,
}

impl Participant {
    /// Agents and egresses depend on the others: alone they keep no room open.
    pub(crate) fn dependent(&self) -> bool {
        matches!(self.info.kind(), Kind::Agent | Kind::Egress)
    }

    fn hidden(&self) -> bool {
        self.info.permission.as_ref().is_some_and(|permission| permission.hidden)
    }

    pub(crate) fn send(&self, message: signal_response::Message) {
        let response = proto::SignalResponse { message: Some(message) };
        self.tell(Signal::Send(Box::new(response)));
    }

    fn tell(&self, signal: Signal) {
        if self.out.try_send(signal).is_err() {
            self.cut.cancel();
        }
    }
}

impl Room {
    fn new(sid: String, request: proto::CreateRoomRequest) -> Self {
        let or = |given: u32, default| if given == 0 { default } else { given };
        let info = proto::Room {
            sid,
            name: request.name,
            empty_timeout: or(request.empty_timeout, EMPTY_TIMEOUT_S),
            departure_timeout: or(request.departure_timeout, DEPARTURE_TIMEOUT_S),
            max_participants: request.max_participants,
            creation_time: ids::now_ms() / 1000,
            creation_time_ms: ids::now_ms(),
            metadata: request.metadata,
            ..Default::default()
        };
        Self {
            info,
            created: Instant::now(),
            last_left: None,
            participants: BTreeMap::new(),
            dispatches: BTreeMap::new(),
        }
    }

    /// The room with its current counts.
    pub(crate) fn snapshot(&self) -> proto::Room {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let visible = || self.participants.values().filter(|p| !p.hidden());
        proto::Room {
            num_participants: count(visible().count()),
            num_publishers: count(visible().filter(|p| p.info.is_publisher).count()),
            ..self.info.clone()
        }
    }

    /// Participants that count against `max_participants`.
    pub(crate) fn independent(&self) -> usize {
        self.participants.values().filter(|p| !p.dependent()).count()
    }

    /// Whether the room has been empty for longer than it may (rtc/room.go,
    /// `CloseIfEmpty`).
    pub(crate) fn idle_at(&self, now: Instant, second: Duration) -> bool {
        if self.independent() > 0 {
            return false;
        }
        let (since, limit) = match self.last_left {
            Some(left) => (left, self.info.departure_timeout),
            None => (self.created, self.info.empty_timeout),
        };
        now.saturating_duration_since(since) >= second.saturating_mul(limit)
    }
}

impl State {
    /// The room as jobs and answers carry it, if only by its name.
    pub(crate) fn room_snapshot(&self, name: &str) -> proto::Room {
        match self.rooms.get(name) {
            Some(room) => room.snapshot(),
            None => proto::Room { name: name.to_owned(), ..Default::default() },
        }
    }

    /// Makes the room if it is not there. A room that is there stays as it is: the
    /// request's agents and settings are ignored (roomallocator.go). Gives the ids of
    /// the dispatches that the new room has.
    pub(crate) fn get_or_create(
        &mut self,
        mut request: proto::CreateRoomRequest,
    ) -> (proto::Room, Vec<String>) {
        if let Some(room) = self.rooms.get(&request.name) {
            return (room.snapshot(), Vec::new());
        }
        let mut agents = std::mem::take(&mut request.agents);
        if agents.is_empty() {
            // Workers without a name get every room.
            agents.push(proto::RoomAgentDispatch::default());
        }
        let mut room = Room::new(self.id("RM_"), request);
        let mut dispatch_ids = Vec::new();
        for agent in agents {
            let id = self.id("AD_");
            dispatch_ids.push(id.clone());
            room.dispatches.insert(id.clone(), Dispatch::new(id, agent));
        }
        let snapshot = room.snapshot();
        tracing::info!(room = %snapshot.name, "room created");
        self.webhooks.room("room_started", &snapshot);
        self.rooms.insert(snapshot.name.clone(), room);
        self.touch();
        (snapshot, dispatch_ids)
    }

    /// Closes a room: everybody is told, and it is gone.
    pub(crate) fn close_room(&mut self, name: &str, reason: proto::DisconnectReason) -> bool {
        let Some(room) = self.rooms.get(name) else { return false };
        let identities: Vec<String> = room.participants.keys().cloned().collect();
        for identity in identities {
            self.remove(name, &identity, None, reason);
        }
        if let Some(room) = self.rooms.remove(name) {
            self.webhooks.room("room_finished", &room.snapshot());
        }
        self.forget_unwanted();
        self.touch();
        true
    }

    /// Lets a participant in. One with the same identity is sent away first.
    pub(crate) fn join(
        &mut self,
        room: &str,
        claims: &Claims,
        out: mpsc::Sender<Signal>,
        cut: CancellationToken,
    ) -> Option<proto::JoinResponse> {
        let identity = claims.sub.clone();
        self.remove(room, &identity, None, proto::DisconnectReason::DuplicateIdentity);
        let info = participant_info(self.id("PA_"), claims);
        let entered = self.rooms.get(room)?;
        let max = entered.info.max_participants;
        let counts = !matches!(info.kind(), Kind::Agent | Kind::Egress);
        if counts && max > 0 && entered.independent() >= max as usize {
            return None;
        }
        let others = entered.participants.values().filter(|p| !p.hidden());
        let others = others.map(|p| p.info.clone()).collect();
        let participant =
            Participant { info: info.clone(), joined: Instant::now(), active: false, out, cut };
        let entered = self.rooms.get_mut(room)?;
        entered.participants.insert(identity, participant);
        let response = proto::JoinResponse {
            room: Some(entered.snapshot()),
            participant: Some(info),
            other_participants: others,
            subscriber_primary: false,
            fast_publish: true,
            ping_interval: 5,
            ping_timeout: 15,
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            server_info: Some(proto::ServerInfo {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                protocol: crate::worker::PROTOCOL,
                agent_protocol: 1,
                node_id: "ND_dialtonedev".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let joined = &entered.participants[&claims.sub];
        joined.send(signal_response::Message::Join(response.clone()));
        self.announce(room, &claims.sub);
        self.touch();
        Some(response)
    }

    /// Calls a participant active, once: its webhook `participant_joined` is due.
    pub(crate) fn activate(&mut self, room: &str, identity: &str, sid: &str) {
        let Some(entered) = self.rooms.get_mut(room) else { return };
        let Some(participant) = entered.participants.get_mut(identity) else { return };
        if participant.info.sid != sid || participant.active {
            return;
        }
        participant.active = true;
        participant.info.state = Presence::Active.into();
        participant.info.version += 1;
        let info = participant.info.clone();
        let snapshot = entered.snapshot();
        self.announce(room, identity);
        self.webhooks.participant("participant_joined", &snapshot, &info);
        self.touch();
    }

    /// Tells the others in the room how a participant is now.
    pub(crate) fn announce(&self, room: &str, identity: &str) {
        let Some(room) = self.rooms.get(room) else { return };
        let Some(subject) = room.participants.get(identity) else { return };
        let update = proto::ParticipantUpdate { participants: vec![subject.info.clone()] };
        for other in room.participants.values() {
            if other.info.identity == identity || !subject.hidden() {
                other.send(signal_response::Message::Update(update.clone()));
            }
        }
    }

    /// Removes a participant (only the one with `sid`, if given) and tells it and the
    /// others why. `false` if there is none.
    pub(crate) fn remove(
        &mut self,
        room: &str,
        identity: &str,
        sid: Option<&str>,
        reason: proto::DisconnectReason,
    ) -> bool {
        let Some(entered) = self.rooms.get_mut(room) else { return false };
        let found = entered.participants.get(identity);
        if found.is_none_or(|p| sid.is_some_and(|sid| p.info.sid != sid)) {
            return false;
        }
        let Some(mut gone) = entered.participants.remove(identity) else { return false };
        gone.info.state = Presence::Disconnected.into();
        gone.info.disconnect_reason = reason.into();
        gone.info.version += 1;
        gone.tell(Signal::Leave(reason));
        if !gone.dependent() {
            entered.last_left = Some(Instant::now());
        }
        if !gone.hidden() {
            let update = proto::ParticipantUpdate { participants: vec![gone.info.clone()] };
            for other in entered.participants.values() {
                other.send(signal_response::Message::Update(update.clone()));
            }
        }
        let event = if gone.active { "participant_left" } else { "participant_connection_aborted" };
        let snapshot = entered.snapshot();
        self.webhooks.participant(event, &snapshot, &gone.info);
        // An agent that takes its own place has not left.
        if gone.info.kind() == Kind::Agent && reason != proto::DisconnectReason::DuplicateIdentity {
            self.agent_left(room, identity);
        }
        self.touch();
        true
    }
}

/// A new participant, as its token describes it.
fn participant_info(sid: String, claims: &Claims) -> proto::ParticipantInfo {
    let video = claims.video.clone().unwrap_or_default();
    let can_publish = video.can_publish.unwrap_or(true);
    let kind = match claims.kind.as_str() {
        "ingress" => Kind::Ingress,
        "egress" => Kind::Egress,
        "sip" => Kind::Sip,
        "agent" => Kind::Agent,
        "connector" => Kind::Connector,
        "bridge" => Kind::Bridge,
        _ => Kind::Standard,
    };
    proto::ParticipantInfo {
        sid,
        identity: claims.sub.clone(),
        state: Presence::Joined.into(),
        metadata: claims.metadata.clone(),
        name: claims.name.clone(),
        joined_at: ids::now_ms() / 1000,
        joined_at_ms: ids::now_ms(),
        kind: kind.into(),
        attributes: claims.attributes.clone().into_iter().collect(),
        permission: Some(proto::ParticipantPermission {
            can_subscribe: video.can_subscribe.unwrap_or(true),
            can_publish,
            can_publish_data: video.can_publish_data.unwrap_or(can_publish),
            can_update_metadata: video.can_update_own_metadata.unwrap_or(false),
            hidden: video.hidden,
            ..Default::default()
        }),
        ..Default::default()
    }
}
