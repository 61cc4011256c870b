use axum::Router;
use axum::routing::{get, post};
use dialtone_contract::ErrorCode;
use dialtone_serve::problem::{Json, OptionalJson, Query};
use dialtone_serve::{Limits, RequestId};
use serde::{Deserialize, Serialize};

use crate::support::Server;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Trigger {
    total: u32,
}

fn routes() -> Router {
    Router::new()
        .route("/trigger", post(async |Json(body): Json<Trigger>| body.total.to_string()))
        .route(
            "/maybe",
            post(async |OptionalJson(body): OptionalJson<Trigger>| {
                body.map_or("none".to_owned(), |body| body.total.to_string())
            }),
        )
        .route("/page", get(async |Query(page): Query<Trigger>| page.total.to_string()))
        .route("/panic", get(async || -> () { panic!("on purpose") }))
        .route("/id", get(async |axum::Extension(id): axum::Extension<RequestId>| id.0.to_string()))
}

fn server() -> Server {
    Server::start(routes(), Limits::default())
}

#[tokio::test]
async fn a_body_is_read_or_refused_for_a_reason() {
    let server = server();
    assert_eq!(server.post("/trigger", r#"{"total":149}"#).await.body(), "149");
    for body in ["", "{", "not json", r#"{"total":1}}"#] {
        assert_eq!(
            server.post("/trigger", body).await.problem().code,
            ErrorCode::NotJson,
            "{body}"
        );
    }
    let cases = [
        (r#"{"total":1,"foo":1}"#, "/foo", "unknown_field"),
        ("{}", "/total", "missing"),
        (r#"{"total":-1}"#, "/total", "out_of_range"),
        (r#"{"total":"1"}"#, "/total", "wrong_type"),
    ];
    for (body, pointer, code) in cases {
        let problem = server.post("/trigger", body).await.problem();
        assert_eq!(problem.code, ErrorCode::Invalid);
        let error = &problem.errors[0];
        assert_eq!((error.pointer.as_str(), error.code.as_str()), (pointer, code), "{body}");
    }
}

#[tokio::test]
async fn another_content_type_is_refused() {
    let server = server();
    let cases = [
        ("", 415),
        ("\r\nContent-Type: text/plain", 415),
        ("\r\nContent-Type: application/x-www-form-urlencoded", 415),
        ("\r\nContent-Type: application/jsonp", 415),
        ("\r\nContent-Type: application/json; charset=utf-8", 200),
        ("\r\nContent-Type: Application/JSON", 200),
        ("\r\nContent-Type: application/batch+json", 200),
    ];
    for (kind, status) in cases {
        let head = format!("POST /trigger HTTP/1.1{kind}\r\nContent-Length: 11");
        let answer = server.ask(&head, r#"{"total":1}"#).await;
        assert_eq!(answer.status(), status, "{kind}");
        if status == 415 {
            assert_eq!(answer.problem().code, ErrorCode::UnsupportedType);
        }
    }
}

#[tokio::test]
async fn an_optional_body_may_be_left_out() {
    let server = server();
    assert_eq!(server.ask("POST /maybe HTTP/1.1\r\nContent-Length: 0", "").await.body(), "none");
    assert_eq!(server.post("/maybe", "").await.body(), "none");
    assert_eq!(server.post("/maybe", r#"{"total":2}"#).await.body(), "2");
    assert_eq!(server.post("/maybe", "{").await.problem().code, ErrorCode::NotJson);
    let untyped = server.ask("POST /maybe HTTP/1.1\r\nContent-Length: 2", "{}").await;
    assert_eq!(untyped.problem().code, ErrorCode::UnsupportedType);
}

#[tokio::test]
async fn a_query_is_read_or_refused_with_its_parameter() {
    let server = server();
    assert_eq!(server.ask("GET /page?total=3 HTTP/1.1", "").await.body(), "3");
    let problem = server.ask("GET /page?total=-3 HTTP/1.1", "").await.problem();
    assert_eq!(problem.errors[0].pointer, "/query/total");
    assert_eq!(problem.errors[0].code, "out_of_range");
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_server_goes_on() {
    let server = server();
    let answer = server.ask("GET /panic HTTP/1.1", "").await;
    assert_eq!(answer.problem().code, ErrorCode::Internal);
    assert!(!answer.0.contains("on purpose"), "{}", answer.0);
    assert_eq!(server.post("/trigger", r#"{"total":1}"#).await.status(), 200);
}

#[tokio::test]
async fn an_unknown_route_or_method_is_a_problem() {
    let server = server();
    assert_eq!(server.ask("GET /none HTTP/1.1", "").await.problem().code, ErrorCode::NotFound);
    let answer = server.ask("GET /trigger HTTP/1.1", "").await;
    assert_eq!(answer.problem().code, ErrorCode::MethodNotAllowed);
    assert_eq!(answer.header("allow"), Some("POST"));
}

#[tokio::test]
async fn a_host_of_another_site_is_refused() {
    let limits = Limits { hosts: vec!["dialtone.example".into()], ..Limits::default() };
    let server = Server::start(routes(), limits);
    let cases = [
        ("GET /id HTTP/1.1\r\nHost: evil.example", 400),
        ("GET /id HTTP/1.1\r\nHost: localhost\r\nHost: evil.example", 400),
        ("GET http://evil.example/id HTTP/1.1\r\nHost: localhost", 400),
        ("GET /id HTTP/1.1", 400),
        ("GET /id HTTP/1.1\r\nHost: localhost:9", 200),
        ("GET /id HTTP/1.1\r\nHost: 127.0.0.1", 200),
        ("GET /id HTTP/1.1\r\nHost: [::1]:9", 200),
        ("GET /id HTTP/1.1\r\nHost: dialtone.example", 200),
    ];
    for (head, status) in cases {
        let mut raw = server.connect().await;
        raw.send(&format!("{head}\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(raw.answer().await.status(), status, "{head}");
    }
}

#[tokio::test]
async fn a_request_keeps_its_id_or_gets_one() {
    let server = server();
    let sent = server.ask("GET /id HTTP/1.1\r\nx-request-id: call-7.a", "").await;
    assert_eq!((sent.header("x-request-id"), sent.body()), (Some("call-7.a"), "call-7.a"));
    let mut seen = std::collections::BTreeSet::new();
    let long = format!("\r\nx-request-id: {}", "a".repeat(129));
    for unusable in ["", "\r\nx-request-id: a b", "\r\nx-request-id: ", &long] {
        let made = server.ask(&format!("GET /id HTTP/1.1{unusable}"), "").await;
        let id = made.header("x-request-id").expect("an id").to_owned();
        assert_eq!(made.body(), id);
        assert!(seen.insert(id), "an id was given twice");
    }
    assert!(server.ask("GET /none HTTP/1.1", "").await.header("x-request-id").is_some());
}
