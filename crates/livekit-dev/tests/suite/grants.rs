//! Who may call what, and how refusals look.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use dialtone_auth::Secret;
use dialtone_auth::livekit::{ApiKey, Claims, VideoGrant};
use dialtone_livekit_dev::Mode;
use serde_json::Value;

use crate::support::{LIST_ROOMS, Post, Server, admin, create, exchange, join, token};
use crate::wire::open;

const PROTOBUF: &str = "application/protobuf";
const JSON: &str = "application/json";

/// Each method with the grants that it must be called with. The room of all is `r`.
fn table() -> Vec<(&'static str, VideoGrant)> {
    let list = VideoGrant { room_list: true, ..Default::default() };
    vec![
        ("livekit.RoomService/CreateRoom", create()),
        ("livekit.RoomService/ListRooms", list),
        ("livekit.RoomService/UpdateRoomMetadata", admin("r")),
        ("livekit.RoomService/ListParticipants", admin("r")),
        ("livekit.RoomService/GetParticipant", admin("r")),
        ("livekit.RoomService/RemoveParticipant", admin("r")),
        ("livekit.RoomService/UpdateParticipant", admin("r")),
        ("livekit.RoomService/SendData", admin("r")),
        ("livekit.AgentDispatchService/CreateDispatch", admin("r")),
        ("livekit.AgentDispatchService/ListDispatch", admin("r")),
        ("livekit.AgentDispatchService/DeleteDispatch", admin("r")),
        ("livekit.RoomService/DeleteRoom", create()),
    ]
}

/// Every grant but `right`.
fn wrong(right: &VideoGrant) -> Vec<VideoGrant> {
    let all = VideoGrant {
        room_create: !right.room_create,
        room_list: !right.room_list,
        room_admin: !right.room_admin,
        room_join: true,
        agent: true,
        room: "r".into(),
        ..Default::default()
    };
    let mut wrong = vec![VideoGrant::default(), all];
    if right.room_admin {
        wrong.push(admin("other"));
        wrong.push(admin(""));
    }
    wrong
}

const BODY: &str = r#"{"room":"r","name":"r","identity":"i","dispatchId":"AD_x"}"#;

#[tokio::test]
async fn each_call_needs_its_own_grant() {
    let server = Server::start(Mode::Oss).await;
    for (method, right) in table() {
        let path = format!("/twirp/{method}");
        for grant in wrong(&right) {
            let (status, body) = server.post(Post::new(&path, JSON, BODY).grant(grant)).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method}");
            let error: Value = serde_json::from_slice(&body).expect("an error in JSON");
            assert_eq!(error["code"], "unauthenticated", "{method}");
        }
        let (status, body) = server.post(Post::new(&path, JSON, BODY).grant(right)).await;
        assert_ne!(status, StatusCode::UNAUTHORIZED, "{method}: {body:?}");
    }
}

#[tokio::test]
async fn tokens_of_others_are_not_believed() {
    let server = Server::start(Mode::Oss).await;
    let path = "/twirp/livekit.RoomService/CreateRoom";
    let foreign = ApiKey { key: "devkey".into(), secret: Secret::new("other") };
    let claims = || Claims { video: Some(create()), ..Default::default() };
    let expired = dialtone_auth::sign(
        &Claims { iss: "devkey".into(), exp: 1, ..claims() },
        &ApiKey::dev().secret,
    );
    for bad in [None, Some(foreign.token(claims(), 60)), Some(expired), Some("x".into())] {
        let post = Post { token: bad, ..Post::new(path, PROTOBUF, "") };
        let (status, body) = server.post(post).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        let error: Value = serde_json::from_slice(&body).expect("an error in JSON");
        assert_eq!(error["code"], "unauthenticated");
    }
    let query = format!("{path}?access_token={}", token("", create()));
    let (status, _) = server.post(Post::new(&query, JSON, BODY)).await;
    assert_eq!(status, StatusCode::OK, "a token in the query");
}

#[tokio::test]
async fn sockets_need_their_grants_and_an_identity() {
    let server = Server::start(Mode::Oss).await;
    let agent = || VideoGrant { agent: true, ..Default::default() };
    let refused = |result: Result<_, u16>| result.err();
    assert_eq!(refused(open(&server, "/agent", &token("", agent())).await), None);
    assert_eq!(refused(open(&server, "/agent", &token("i", join("r"))).await), Some(401));
    for path in ["/rtc", "/rtc/v1", "/rtc/validate", "/rtc/v1/validate"] {
        assert_eq!(refused(open(&server, path, &token("i", agent())).await), Some(401), "{path}");
        assert_eq!(refused(open(&server, path, &token("", join("r"))).await), Some(400), "{path}");
        assert_eq!(refused(open(&server, path, &token("i", join(""))).await), Some(400), "{path}");
    }
    let good = format!("?access_token={}", token("i", join("r")));
    let (status, body) = server.get(&format!("/rtc/validate{good}")).await;
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"success"[..]));
    // Without an upgrade there is nothing there.
    assert_eq!(server.get(&format!("/rtc{good}")).await.0, StatusCode::NOT_FOUND);
    let agent = format!("/agent?access_token={}", token("", agent()));
    assert_eq!(server.get(&agent).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_not_there_says_so_in_json() {
    let server = Server::start(Mode::Oss).await;
    let post = async |path: &str, content_type: &str, body: &str| {
        let (status, body) = server.post(Post::new(path, content_type, body).grant(create())).await;
        let error: Value = serde_json::from_slice(&body).expect("an error in JSON");
        (status.as_u16(), error["code"].as_str().unwrap_or_default().to_owned())
    };
    let create = "/twirp/livekit.RoomService/CreateRoom";
    let code = |status, code: &str| (status, code.to_owned());
    assert_eq!(post(create, "text/plain", "").await, code(404, "bad_route"));
    let unknown = "/twirp/livekit.RoomService/Nothing";
    assert_eq!(post(unknown, JSON, "{}").await, code(404, "bad_route"));
    let egress = "/twirp/livekit.Egress/ListEgress";
    assert_eq!(post(egress, JSON, "{}").await, code(501, "unimplemented"));
    let mute = "/twirp/livekit.RoomService/MutePublishedTrack";
    assert_eq!(post(mute, JSON, "{}").await, code(501, "unimplemented"));
    assert_eq!(post(create, JSON, "{").await, code(400, "malformed"));
    assert_eq!(post(create, PROTOBUF, "\x01").await, code(400, "malformed"));
    assert_eq!(post(create, JSON, "{}").await, code(400, "invalid_argument"));
    let delete = "/twirp/livekit.RoomService/DeleteRoom";
    assert_eq!(post(delete, JSON, BODY).await, code(404, "not_found"));
    let large = format!(r#"{{"name":"r","metadata":"{}"}}"#, "x".repeat(512 * 1024 + 1));
    assert_eq!(post(create, JSON, &large).await, code(400, "invalid_argument"));
    let (status, _) = server.get(create).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn pages_may_call_livekit_but_not_look_at_the_workers() {
    let server = Server::start(Mode::Oss).await;
    let shared = |method: &'static str, path: &'static str| {
        let uri = format!("http://{}{path}", server.address);
        let request = Request::builder().method(method).uri(uri).body(Body::empty());
        async move {
            let response = exchange(request.expect("a request")).await;
            response.headers().contains_key("Access-Control-Allow-Origin")
        }
    };
    for path in [LIST_ROOMS, "/rtc/validate", "//rtc/validate", "/nothing"] {
        assert!(shared("POST", path).await, "{path}");
        assert!(shared("OPTIONS", path).await, "{path}");
    }
    for path in ["/dev/workers", "//dev//workers", "/dev/workers?x=1"] {
        for method in ["GET", "OPTIONS", "POST"] {
            assert!(!shared(method, path).await, "{method} {path}");
        }
    }
}
