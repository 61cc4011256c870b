//! LiveKit's own Rust client against the server.

use std::collections::HashMap;

use dialtone_livekit_dev::Mode;
use livekit_api::services::agent_dispatch::AgentDispatchClient;
use livekit_api::services::room::{CreateRoomOptions, RoomClient};
use livekit_protocol as proto;

use crate::support::Server;
use crate::wire::{Peer, RawWorker};

#[tokio::test]
async fn the_rust_sdk_works() {
    let server = Server::start(Mode::Oss).await;
    let rooms = RoomClient::with_api_key(&server.url(), "devkey", "secret");
    let room = rooms.create_room("r", CreateRoomOptions::default()).await.expect("a room");
    assert_eq!(room.name, "r");
    assert_eq!(rooms.list_rooms(Vec::new()).await.expect("a list").len(), 1);
    let mut peer = Peer::join(&server, "r", "p", true).await;
    let listed = rooms.list_participants("r").await.expect("a list");
    assert_eq!(listed[0].identity, "p");
    rooms.remove_participant("r", "p").await.expect("removed");
    assert_eq!(peer.left().await, proto::DisconnectReason::ParticipantRemoved);

    let mut worker = RawWorker::register(&server, "a").await;
    let dispatches = AgentDispatchClient::with_api_key(&server.url(), "devkey", "secret");
    let request = proto::CreateAgentDispatchRequest {
        room: "r".into(),
        agent_name: "a".into(),
        metadata: "m".into(),
        attributes: HashMap::new(),
        ..Default::default()
    };
    let made = dispatches.create_dispatch(request).await.expect("a dispatch");
    let job = worker.accept().await.job.expect("a job");
    assert_eq!(job.metadata, "m");
    let listed = dispatches.list_dispatch("r").await.expect("a list");
    let found = listed.iter().find(|d| d.id == made.id).expect("listed");
    assert_eq!(found.state.as_ref().expect("a state").jobs.len(), 1);
    dispatches.delete_dispatch(&made.id, "r").await.expect("deleted");
    rooms.delete_room("r").await.expect("deleted");
    let error = rooms.delete_room("r").await.expect_err("gone").to_string();
    assert!(error.contains("not_found"), "{error}");
}
