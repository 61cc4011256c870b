//! Rooms and those in them.

use std::time::Duration;

use dialtone_auth::livekit::{Claims, VideoGrant};
use dialtone_livekit_dev::Mode;
use livekit_protocol as proto;
use proto::participant_info::State;
use proto::{DisconnectReason, signal_request, signal_response};
use serde_json::{Value, json};

use crate::support::{
    CREATE_ROOM, DELETE_ROOM, LIST_ROOMS, Post, REMOVE_PARTICIPANT, Server, admin, create, soon,
};
use crate::wire::Peer;

async fn create_room(server: &Server, request: proto::CreateRoomRequest) -> proto::Room {
    server.call(create(), CREATE_ROOM, request).await.expect("a room")
}

fn named(name: &str) -> proto::CreateRoomRequest {
    proto::CreateRoomRequest { name: name.into(), ..Default::default() }
}

async fn rooms(server: &Server) -> Vec<String> {
    let grant = VideoGrant { room_list: true, ..Default::default() };
    let request = proto::ListRoomsRequest::default();
    let list: proto::ListRoomsResponse =
        server.call(grant, LIST_ROOMS, request).await.expect("a list");
    list.rooms.into_iter().map(|room| room.name).collect()
}

async fn no_rooms(server: &Server) {
    soon("the end of the room", server.handle.wait_for(|now| now.rooms == 0)).await;
}

/// A server whose rooms' seconds are milliseconds.
async fn fast() -> Server {
    Server::with(Mode::Oss, |options| {
        options.timings.room_second = Duration::from_millis(1);
        options.timings.sweep = Duration::from_millis(5);
    })
    .await
}

#[tokio::test]
async fn a_room_that_is_there_stays_as_it_is() {
    let server = Server::start(Mode::Oss).await;
    let first = create_room(&server, named("r")).await;
    assert_eq!((first.empty_timeout, first.departure_timeout), (300, 20));
    assert!(first.sid.starts_with("RM_") && first.sid.len() == 15, "{}", first.sid);
    let again = proto::CreateRoomRequest { empty_timeout: 9, metadata: "m".into(), ..named("r") };
    assert_eq!(create_room(&server, again).await, first);
    assert_eq!(rooms(&server).await, ["r"]);
}

#[tokio::test]
async fn json_is_read_in_both_cases_and_written_with_proto_names() {
    let server = Server::start(Mode::Oss).await;
    let cases = [
        r#"{"name":"a","emptyTimeout":7,"somethingNew":1}"#,
        r#"{"name":"b","empty_timeout":7,"departureTimeout":20}"#,
    ];
    for body in cases {
        let post = Post::new(CREATE_ROOM, "application/json;charset=UTF-8", body).grant(create());
        let (status, body) = server.post(post).await;
        assert_eq!(status, 200);
        let room: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(room["empty_timeout"], 7);
        assert_eq!(room["num_participants"], 0, "unset fields are written");
        assert_eq!(room["enabled_codecs"], json!([]));
        assert!(room["creation_time"].is_string(), "64-bit integers are text");
    }
}

#[tokio::test]
async fn an_unused_room_closes_after_its_empty_timeout() {
    let server = fast().await;
    create_room(&server, proto::CreateRoomRequest { empty_timeout: 60, ..named("r") }).await;
    no_rooms(&server).await;
}

#[tokio::test]
async fn a_left_room_closes_after_its_departure_timeout() {
    let server = fast().await;
    let request =
        proto::CreateRoomRequest { empty_timeout: 100_000, departure_timeout: 1, ..named("r") };
    create_room(&server, request).await;
    let mut peer = Peer::join(&server, "r", "p", true).await;
    assert_eq!(server.handle.workers().rooms, 1);
    peer.send(signal_request::Message::Leave(proto::LeaveRequest::default())).await;
    no_rooms(&server).await;
}

#[tokio::test]
async fn an_agent_alone_keeps_no_room_open() {
    let server = fast().await;
    let agent = Claims {
        sub: "agent".into(),
        kind: "agent".into(),
        video: Some(crate::support::join("r")),
        ..Default::default()
    };
    create_room(&server, proto::CreateRoomRequest { empty_timeout: 300, ..named("r") }).await;
    let mut agent = Peer::with(&server, agent, true).await;
    assert_eq!(soon("the close", agent.left()).await, DisconnectReason::RoomClosed);
    no_rooms(&server).await;
}

#[tokio::test]
async fn a_deleted_room_sends_everybody_away() {
    let server = Server::start(Mode::Oss).await;
    let mut peer = Peer::join(&server, "r", "p", true).await;
    let request = proto::DeleteRoomRequest { room: "r".into() };
    let _: proto::DeleteRoomResponse =
        server.call(create(), DELETE_ROOM, request).await.expect("deleted");
    assert_eq!(peer.left().await, DisconnectReason::RoomDeleted);
    assert!(rooms(&server).await.is_empty());
}

#[tokio::test]
async fn those_in_a_room_see_others_come_and_go() {
    let server = Server::start(Mode::Oss).await;
    let mut first = Peer::join(&server, "r", "first", true).await;
    let mut second = Peer::join(&server, "r", "second", true).await;
    assert_eq!(second.joined.other_participants[0].identity, "first");
    assert!(!second.joined.subscriber_primary);
    assert_eq!(first.sees("second").await, State::Joined);
    assert_eq!(first.sees("second").await, State::Active);
    second.send(signal_request::Message::PingReq(proto::Ping { timestamp: 5, rtt: 0 })).await;
    loop {
        match second.recv().await {
            Some(signal_response::Message::PongResp(pong)) => {
                assert_eq!(pong.last_ping_timestamp, 5);
                break;
            }
            Some(_) => {}
            None => panic!("closed"),
        }
    }
    second.send(signal_request::Message::Leave(proto::LeaveRequest::default())).await;
    assert_eq!(first.sees("second").await, State::Disconnected);
    drop(second);

    let third = Peer::join(&server, "r", "third", true).await;
    assert_eq!(first.sees("third").await, State::Joined);
    assert_eq!(first.sees("third").await, State::Active);
    // A connection that breaks without a leave ends the stay as well.
    drop(third);
    assert_eq!(first.sees("third").await, State::Disconnected);
}

#[tokio::test]
async fn the_second_with_an_identity_sends_the_first_away() {
    let server = Server::start(Mode::Oss).await;
    let mut first = Peer::join(&server, "r", "p", true).await;
    let second = Peer::join(&server, "r", "p", true).await;
    assert_eq!(first.left().await, DisconnectReason::DuplicateIdentity);
    let participants = server.participants("r").await;
    let [left] = participants.as_slice() else { panic!("{participants:?}") };
    assert_eq!(left.sid, second.joined.participant.expect("itself").sid);
}

#[tokio::test]
async fn a_participant_that_never_becomes_active_is_removed() {
    let server = Server::with(Mode::Oss, |options| {
        options.timings.join = Duration::from_millis(50);
    })
    .await;
    let mut silent = Peer::join(&server, "r", "silent", false).await;
    let stays = Peer::join(&server, "r", "stays", true).await;
    assert_eq!(soon("the removal", silent.left()).await, DisconnectReason::JoinFailure);
    assert_eq!(server.participants("r").await.len(), 1);
    drop(stays);
}

#[tokio::test]
async fn a_removed_participant_is_told() {
    let server = Server::start(Mode::Oss).await;
    let mut peer = Peer::join(&server, "r", "p", true).await;
    let who = || proto::RoomParticipantIdentity {
        room: "r".into(),
        identity: "p".into(),
        ..Default::default()
    };
    let _: proto::RemoveParticipantResponse =
        server.call(admin("r"), REMOVE_PARTICIPANT, who()).await.expect("removed");
    assert_eq!(peer.left().await, DisconnectReason::ParticipantRemoved);
    let again: Result<proto::RemoveParticipantResponse, _> =
        server.call(admin("r"), REMOVE_PARTICIPANT, who()).await;
    assert_eq!(again.expect_err("gone").code, "not_found");
}

#[tokio::test]
async fn participants_and_rooms_can_be_described_anew() {
    let server = Server::start(Mode::Oss).await;
    let mut peer = Peer::join(&server, "r", "p", true).await;
    let update = proto::UpdateParticipantRequest {
        room: "r".into(),
        identity: "p".into(),
        metadata: "m".into(),
        attributes: [("k".to_owned(), "v".to_owned())].into(),
        ..Default::default()
    };
    let path = "/twirp/livekit.RoomService/UpdateParticipant";
    let info: proto::ParticipantInfo =
        server.call(admin("r"), path, update).await.expect("updated");
    assert_eq!((info.metadata.as_str(), info.attributes["k"].as_str()), ("m", "v"));
    let update = proto::UpdateRoomMetadataRequest { room: "r".into(), metadata: "of room".into() };
    let path = "/twirp/livekit.RoomService/UpdateRoomMetadata";
    let room: proto::Room = server.call(admin("r"), path, update).await.expect("updated");
    assert_eq!((room.metadata.as_str(), room.num_participants), ("of room", 1));
    loop {
        match peer.recv().await {
            Some(signal_response::Message::RoomUpdate(update)) => {
                assert_eq!(update.room.expect("a room").metadata, "of room");
                break;
            }
            Some(_) => {}
            None => panic!("closed"),
        }
    }
}

#[tokio::test]
async fn a_full_room_takes_agents_only() {
    let server = Server::start(Mode::Oss).await;
    create_room(&server, proto::CreateRoomRequest { max_participants: 1, ..named("r") }).await;
    let _first = Peer::join(&server, "r", "first", true).await;
    let token = crate::support::token("second", crate::support::join("r"));
    let refused = crate::wire::open(&server, "/rtc", &token).await.expect("an upgrade");
    use futures_util::StreamExt as _;
    use prost::Message as _;
    let mut refused = refused;
    let frame = soon("the refusal", refused.next()).await.expect("a frame").expect("read");
    let response = proto::SignalResponse::decode(frame.into_data()).expect("a response");
    assert!(matches!(response.message, Some(signal_response::Message::Leave(_))));
    let agent = Claims {
        sub: "agent".into(),
        kind: "agent".into(),
        video: Some(crate::support::join("r")),
        ..Default::default()
    };
    Peer::with(&server, agent, true).await;
}

#[tokio::test]
async fn a_token_configures_the_room_that_its_join_makes() {
    let server = Server::start(Mode::Oss).await;
    let mut worker = crate::wire::RawWorker::register(&server, "host").await;
    let claims = Claims {
        sub: "p".into(),
        video: Some(crate::support::join("r")),
        room_config: json!({ "emptyTimeout": 44, "agents": [{ "agentName": "host" }] }),
        ..Default::default()
    };
    let peer = Peer::with(&server, claims, true).await;
    assert_eq!(peer.joined.room.as_ref().expect("a room").empty_timeout, 44);
    assert_eq!(worker.offer().await.job.expect("a job").agent_name, "host");
}
