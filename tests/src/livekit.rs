use dialtone_auth::livekit::{ApiKey, Claims, VideoGrant};
use serde_json::{Value, json};

use crate::Api;

/// Asks a LiveKit server for an agent in a room, over its public API.
///
/// # Panics
/// If it refuses.
pub async fn create_dispatch(livekit: &Api, room: &str, agent_name: &str, metadata: &str) -> Value {
    let video = VideoGrant { room_admin: true, room: room.to_owned(), ..VideoGrant::default() };
    let token = ApiKey::dev().token(Claims { video: Some(video), ..Claims::default() }, 60);
    let body = json!({ "room": room, "agent_name": agent_name, "metadata": metadata });
    let path = "/twirp/livekit.AgentDispatchService/CreateDispatch";
    livekit.post(path, Some(&token), &body).await.ok()
}
