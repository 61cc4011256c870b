use axum::response::Response;
use livekit_protocol as proto;

use crate::auth::Right;
use crate::dispatch::{Dispatch, end_jobs, start};
use crate::ids;
use crate::room_service::{Call, check_attributes, check_metadata};
use crate::server::Shared;
use crate::twirp::TwirpError;

/// Longest `deployment` (config.go).
const DEPLOYMENT_BYTES: usize = 64;

/// The agent dispatch service (pkg/service/agent_dispatch_service.go).
pub(crate) fn service(call: &Call, method: &str) -> Result<Response, TwirpError> {
    match method {
        "CreateDispatch" => call.with(create),
        "DeleteDispatch" => call.with(delete),
        "ListDispatch" => call.with(list),
        _ => Err(TwirpError::bad_route(format!(
            "no handler for path \"/twirp/livekit.AgentDispatchService/{method}\""
        ))),
    }
}

fn no_dispatch() -> TwirpError {
    TwirpError::not_found("dispatch ID not found")
}

fn create(
    call: &Call,
    request: &proto::CreateAgentDispatchRequest,
) -> Result<proto::AgentDispatch, TwirpError> {
    call.require(Right::Admin(&request.room))?;
    if request.room.is_empty() {
        return Err(TwirpError::invalid("room name is required"));
    }
    check_metadata(&request.metadata)?;
    check_attributes(&request.attributes)?;
    let deployment = &request.deployment;
    if deployment.len() > DEPLOYMENT_BYTES || deployment.contains(['_', ' ']) {
        return Err(TwirpError::invalid("invalid deployment"));
    }
    let mut launches = Vec::new();
    let mut state = call.server.state();
    let name = request.room.clone();
    let room = proto::CreateRoomRequest { name: name.clone(), ..Default::default() };
    // A room that this makes has its unnamed dispatch too.
    for id in state.get_or_create(room).1 {
        launches.extend(state.launches_of_dispatch(&name, &id));
    }
    // A repeated attempt of the same call finds what the first one made.
    let id = match &call.request_id {
        Some(request_id) => ids::derived("AD_", request_id),
        None => state.id("AD_"),
    };
    let agent = proto::RoomAgentDispatch {
        agent_name: request.agent_name.clone(),
        metadata: request.metadata.clone(),
        restart_policy: request.restart_policy,
        deployment: request.deployment.clone(),
        attributes: request.attributes.clone(),
    };
    let Some(room) = state.rooms.get_mut(&name) else {
        return Err(TwirpError::internal("the room is gone"));
    };
    let known = room.dispatches.contains_key(&id);
    let dispatch = room.dispatches.entry(id.clone()).or_insert_with(|| Dispatch::new(id, agent));
    let answer = dispatch.to_proto(&name);
    if !known {
        launches.extend(state.launches_of_dispatch(&name, &answer.id));
        state.touch();
    }
    drop(state);
    start(&call.server, launches);
    Ok(answer)
}

fn delete(
    call: &Call,
    request: &proto::DeleteAgentDispatchRequest,
) -> Result<proto::AgentDispatch, TwirpError> {
    call.require(Right::Admin(&request.room))?;
    let mut state = call.server.state();
    let room = state.rooms.get_mut(&request.room).ok_or_else(no_dispatch)?;
    let dispatch = room.dispatches.remove(&request.dispatch_id).ok_or_else(no_dispatch)?;
    let mut answer = dispatch.to_proto(&request.room);
    if let Some(shown) = &mut answer.state {
        shown.deleted_at = ids::now_ns();
    }
    state.forget_unwanted();
    state.touch();
    drop(state);
    let server = Shared::clone(&call.server);
    call.server.spawn(end_jobs(server, request.room.clone(), dispatch.jobs));
    Ok(answer)
}

fn list(
    call: &Call,
    request: &proto::ListAgentDispatchRequest,
) -> Result<proto::ListAgentDispatchResponse, TwirpError> {
    call.require(Right::Admin(&request.room))?;
    let state = call.server.state();
    let room = state
        .rooms
        .get(&request.room)
        .ok_or_else(|| TwirpError::not_found("requested room does not exist"))?;
    let wanted = |id: &str| request.dispatch_id.is_empty() || request.dispatch_id == id;
    let mut agent_dispatches: Vec<_> = room
        .dispatches
        .values()
        .filter(|dispatch| wanted(&dispatch.id))
        .map(|dispatch| dispatch.to_proto(&request.room))
        .collect();
    agent_dispatches.sort_by_key(|dispatch| dispatch.state.as_ref().map(|state| state.created_at));
    Ok(proto::ListAgentDispatchResponse { agent_dispatches })
}
