use axum::body::Bytes;
use axum::extract::{Path, Request, State as Extract};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use dialtone_auth::livekit::Claims;
use livekit_protocol as proto;
use livekit_protocol::signal_response;
use serde::de::DeserializeOwned;

use crate::auth::{Right, claims, require};
use crate::dispatch::start;
use crate::dispatch_service as dispatch;
use crate::emit::Answer;
use crate::server::Shared;
use crate::twirp::{Format, TwirpError};

/// A request's body: metadata may be 512 KiB and JSON may double it.
const BODY_BYTES: usize = 2 * 1024 * 1024;
/// livekit-server's limits (config.go).
const METADATA_BYTES: usize = 512 * 1024;
const ATTRIBUTES_BYTES: usize = 64 * 1024;

/// A Twirp call with its token read.
pub(crate) struct Call {
    pub(crate) server: Shared,
    pub(crate) claims: Claims,
    pub(crate) format: Format,
    pub(crate) body: Bytes,
    /// `X-Livekit-Request-Id`: the same for all attempts of one call.
    pub(crate) request_id: Option<String>,
}

impl Call {
    /// Decodes, handles, encodes.
    pub(crate) fn with<M, A>(
        &self,
        handle: impl FnOnce(&Self, &M) -> Result<A, TwirpError>,
    ) -> Result<Response, TwirpError>
    where
        M: prost::Message + Default + DeserializeOwned,
        A: Answer,
    {
        let request = self.format.decode(&self.body)?;
        handle(self, &request).map(|answer| self.format.encode(&answer))
    }

    pub(crate) fn require(&self, right: Right<'_>) -> Result<(), TwirpError> {
        Ok(require(&self.claims, right)?)
    }
}

/// `POST /twirp/<service>/<method>`.
pub(crate) async fn twirp(
    Extract(server): Extract<Shared>,
    Path((service, method)): Path<(String, String)>,
    request: Request,
) -> Response {
    answer(server, &service, &method, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(
    server: Shared,
    service: &str,
    method: &str,
    request: Request,
) -> Result<Response, TwirpError> {
    let (parts, body) = request.into_parts();
    if parts.method != Method::POST {
        return Err(TwirpError::bad_route(format!(
            "unsupported method \"{}\" (only POST is allowed)",
            parts.method
        )));
    }
    let claims = claims(&server.options.keys, &parts)?;
    let format = Format::of(&parts.headers)?;
    let body = axum::body::to_bytes(body, BODY_BYTES)
        .await
        .map_err(|_| TwirpError::malformed("the body could not be read, or is too large"))?;
    let request_id = parts
        .headers
        .get("x-livekit-request-id")
        .and_then(|value| value.to_str().ok())
        .filter(|id| !id.is_empty())
        .map(str::to_owned);
    let call = Call { server, claims, format, body, request_id };
    match service {
        "livekit.RoomService" => room_service(&call, method),
        "livekit.AgentDispatchService" => dispatch::service(&call, method),
        "livekit.Egress" | "livekit.Ingress" | "livekit.SIP" | "livekit.Connector" => {
            Err(TwirpError::unimplemented(format!("{service} is not part of this server")))
        }
        _ => {
            Err(TwirpError::bad_route(format!("no handler for path \"/twirp/{service}/{method}\"")))
        }
    }
}

fn room_service(call: &Call, method: &str) -> Result<Response, TwirpError> {
    match method {
        "CreateRoom" => call.with(create_room),
        "ListRooms" => call.with(list_rooms),
        "DeleteRoom" => call.with(delete_room),
        "ListParticipants" => call.with(list_participants),
        "GetParticipant" => call.with(get_participant),
        "RemoveParticipant" => call.with(remove_participant),
        "UpdateParticipant" => call.with(update_participant),
        "UpdateRoomMetadata" => call.with(update_room_metadata),
        "SendData" => call.with(send_data),
        "MutePublishedTrack"
        | "UpdateSubscriptions"
        | "ForwardParticipant"
        | "MoveParticipant"
        | "PerformRpc" => Err(TwirpError::unimplemented(format!("{method} needs media"))),
        _ => Err(TwirpError::bad_route(format!(
            "no handler for path \"/twirp/livekit.RoomService/{method}\""
        ))),
    }
}

fn no_room() -> TwirpError {
    TwirpError::not_found("requested room does not exist")
}

fn no_participant() -> TwirpError {
    TwirpError::not_found("participant does not exist")
}

/// Refuses metadata that LiveKit would refuse.
pub(crate) fn check_metadata(metadata: &str) -> Result<(), TwirpError> {
    if metadata.len() > METADATA_BYTES {
        return Err(TwirpError::invalid(format!(
            "metadata size exceeds limits, max size: {METADATA_BYTES}"
        )));
    }
    Ok(())
}

/// Refuses attributes that LiveKit would refuse.
pub(crate) fn check_attributes(
    attributes: &std::collections::HashMap<String, String>,
) -> Result<(), TwirpError> {
    let bytes: usize = attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > ATTRIBUTES_BYTES {
        return Err(TwirpError::invalid(format!(
            "attribute size exceeds limits, max size: {ATTRIBUTES_BYTES}"
        )));
    }
    Ok(())
}

fn create_room(call: &Call, request: &proto::CreateRoomRequest) -> Result<proto::Room, TwirpError> {
    call.require(Right::CreateRoom)?;
    if request.name.is_empty() {
        return Err(TwirpError::invalid("room name is required"));
    }
    check_metadata(&request.metadata)?;
    for agent in &request.agents {
        check_metadata(&agent.metadata)?;
        check_attributes(&agent.attributes)?;
    }
    let (room, launches) = {
        let mut state = call.server.state();
        let (room, dispatch_ids) = state.get_or_create(request.clone());
        let launches: Vec<_> =
            dispatch_ids.iter().flat_map(|id| state.launches_of_dispatch(&room.name, id)).collect();
        (room, launches)
    };
    start(&call.server, launches);
    Ok(room)
}

fn list_rooms(
    call: &Call,
    request: &proto::ListRoomsRequest,
) -> Result<proto::ListRoomsResponse, TwirpError> {
    call.require(Right::ListRooms)?;
    let state = call.server.state();
    let wanted = |name: &String| request.names.is_empty() || request.names.contains(name);
    let rooms = state.rooms.iter().filter(|(name, _)| wanted(name));
    Ok(proto::ListRoomsResponse { rooms: rooms.map(|(_, room)| room.snapshot()).collect() })
}

fn delete_room(
    call: &Call,
    request: &proto::DeleteRoomRequest,
) -> Result<proto::DeleteRoomResponse, TwirpError> {
    call.require(Right::CreateRoom)?;
    let mut state = call.server.state();
    if state.close_room(&request.room, proto::DisconnectReason::RoomDeleted) {
        Ok(proto::DeleteRoomResponse {})
    } else {
        Err(no_room())
    }
}

fn list_participants(
    call: &Call,
    request: &proto::ListParticipantsRequest,
) -> Result<proto::ListParticipantsResponse, TwirpError> {
    call.require(Right::Admin(&request.room))?;
    let state = call.server.state();
    let room = state.rooms.get(&request.room).ok_or_else(no_room)?;
    let participants = room.participants.values().map(|p| p.info.clone()).collect();
    Ok(proto::ListParticipantsResponse { participants })
}

fn get_participant(
    call: &Call,
    request: &proto::RoomParticipantIdentity,
) -> Result<proto::ParticipantInfo, TwirpError> {
    call.require(Right::Admin(&request.room))?;
    let state = call.server.state();
    let room = state.rooms.get(&request.room).ok_or_else(no_participant)?;
    let found = room.participants.get(&request.identity).ok_or_else(no_participant)?;
    Ok(found.info.clone())
}

fn remove_participant(
    call: &Call,
    request: &proto::RoomParticipantIdentity,
) -> Result<proto::RemoveParticipantResponse, TwirpError> {
    call.require(Right::Admin(&request.room))?;
    let reason = proto::DisconnectReason::ParticipantRemoved;
    if call.server.state().remove(&request.room, &request.identity, None, reason) {
        Ok(proto::RemoveParticipantResponse {})
    } else {
        Err(no_participant())
    }
}

fn update_participant(
    call: &Call,
    request: &proto::UpdateParticipantRequest,
) -> Result<proto::ParticipantInfo, TwirpError> {
    call.require(Right::Admin(&request.room))?;
    check_metadata(&request.metadata)?;
    check_attributes(&request.attributes)?;
    let mut state = call.server.state();
    let room = state.rooms.get_mut(&request.room).ok_or_else(no_participant)?;
    let found = room.participants.get_mut(&request.identity).ok_or_else(no_participant)?;
    let info = &mut found.info;
    if !request.metadata.is_empty() {
        info.metadata.clone_from(&request.metadata);
    }
    if !request.name.is_empty() {
        info.name.clone_from(&request.name);
    }
    if request.permission.is_some() {
        info.permission.clone_from(&request.permission);
    }
    for (name, value) in &request.attributes {
        // An empty value removes the attribute.
        if value.is_empty() {
            info.attributes.remove(name);
        } else {
            info.attributes.insert(name.clone(), value.clone());
        }
    }
    info.version += 1;
    let info = info.clone();
    state.announce(&request.room, &request.identity);
    Ok(info)
}

fn update_room_metadata(
    call: &Call,
    request: &proto::UpdateRoomMetadataRequest,
) -> Result<proto::Room, TwirpError> {
    call.require(Right::Admin(&request.room))?;
    check_metadata(&request.metadata)?;
    let mut state = call.server.state();
    let room = state.rooms.get_mut(&request.room).ok_or_else(no_room)?;
    room.info.metadata.clone_from(&request.metadata);
    let snapshot = room.snapshot();
    let update = proto::RoomUpdate { room: Some(snapshot.clone()) };
    for participant in room.participants.values() {
        participant.send(signal_response::Message::RoomUpdate(update.clone()));
    }
    Ok(snapshot)
}

/// Data goes over data channels, which are media: accepted and delivered to nobody.
fn send_data(
    call: &Call,
    request: &proto::SendDataRequest,
) -> Result<proto::SendDataResponse, TwirpError> {
    call.require(Right::Admin(&request.room))?;
    if call.server.state().rooms.contains_key(&request.room) {
        Ok(proto::SendDataResponse {})
    } else {
        Err(no_room())
    }
}
