use std::time::Duration;

use async_trait::async_trait;
use dialtone_auth::livekit::ApiKey;
use livekit_api::services::agent_dispatch::AgentDispatchClient;
use livekit_api::services::room::{CreateRoomOptions, RoomClient};

use livekit_api::services::{ServerError, ServiceError, ServiceResult};
use livekit_protocol::CreateAgentDispatchRequest;

use crate::{LiveKit, LiveKitError, NewDispatch};

/// Wire time for one request to LiveKit.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Wall seconds that a room stays open after its last participant left.
const DEPARTURE_TIMEOUT_S: u32 = 20;

/// A LiveKit server, over its public API.
pub struct RealLiveKit {
    rooms: RoomClient,
    dispatches: AgentDispatchClient,
}

impl RealLiveKit {
    /// The server at `url` (`http`, `https`, `ws` or `wss`).
    pub fn new(url: &str, key: &ApiKey) -> Self {
        let secret = key.secret.expose();
        let rooms = RoomClient::with_api_key(url, &key.key, secret);
        let dispatches = AgentDispatchClient::with_api_key(url, &key.key, secret);
        Self {
            rooms: rooms.with_request_timeout(REQUEST_TIMEOUT).with_failover(false),
            dispatches: dispatches.with_request_timeout(REQUEST_TIMEOUT).with_failover(false),
        }
    }
}

fn checked<T>(result: ServiceResult<T>) -> Result<T, LiveKitError> {
    result.map_err(|error| match &error {
        ServiceError::Twirp(ServerError::Request(request)) if request.is_connect() => {
            LiveKitError::NotSent("no connection".to_owned())
        }
        // The library's own words name the server's address, and tenants are told why.
        ServiceError::Twirp(ServerError::Request(request)) if request.is_timeout() => {
            LiveKitError::Unknown(format!("no answer within {REQUEST_TIMEOUT:?}"))
        }
        ServiceError::Twirp(ServerError::Request(_)) => {
            LiveKitError::Unknown("the connection broke off".to_owned())
        }
        // A 4xx is a decision; everything else leaves it open whether it was done.
        ServiceError::Twirp(ServerError::Twirp(code)) if !may_have_happened(&code.code) => {
            LiveKitError::Refused(code.to_string())
        }
        _ => LiveKitError::Unknown(error.to_string()),
    })
}

fn may_have_happened(code: &str) -> bool {
    matches!(
        code,
        "internal" | "unknown" | "unavailable" | "dataloss" | "deadline_exceeded" | "canceled"
    )
}

#[async_trait]
impl LiveKit for RealLiveKit {
    async fn dispatch(&self, new: &NewDispatch) -> Result<String, LiveKitError> {
        let options = CreateRoomOptions {
            empty_timeout: new.empty_timeout_s,
            departure_timeout: DEPARTURE_TIMEOUT_S,
            ..CreateRoomOptions::default()
        };
        // Made first: a room that the dispatch makes by itself closes after the server's
        // default, which may be shorter than the call.
        // Nothing that carries the attempt has left if only this fails.
        checked(self.rooms.create_room(&new.room, options).await).map_err(|error| match error {
            LiveKitError::Unknown(why) => LiveKitError::NotSent(why),
            other => other,
        })?;
        let request = CreateAgentDispatchRequest {
            agent_name: new.agent_name.clone(),
            room: new.room.clone(),
            metadata: new.metadata.clone(),
            ..CreateAgentDispatchRequest::default()
        };
        Ok(checked(self.dispatches.create_dispatch(request).await)?.id)
    }

    async fn delete_dispatch(&self, room: &str, dispatch_id: &str) -> Result<(), LiveKitError> {
        match self.dispatches.delete_dispatch(dispatch_id, room).await {
            Err(ServiceError::Twirp(ServerError::Twirp(code))) if code.code == "not_found" => {
                Ok(())
            }
            result => checked(result).map(drop),
        }
    }

    async fn delete_room(&self, room: &str) -> Result<(), LiveKitError> {
        match self.rooms.delete_room(room).await {
            Err(ServiceError::Twirp(ServerError::Twirp(code))) if code.code == "not_found" => {
                Ok(())
            }
            result => checked(result),
        }
    }
}
