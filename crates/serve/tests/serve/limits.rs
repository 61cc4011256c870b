use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use dialtone_contract::ErrorCode;
use dialtone_serve::Limits;
use dialtone_serve::problem::{Json, RawBody, body_limit};
use serde_json::Value;

use crate::support::{Server, ms, short, soon};

fn routes() -> Router {
    let more = body_limit(4 * 1024 * 1024);
    Router::new()
        .route("/ok", get(async || "fine"))
        .route("/json", post(async |Json(_): Json<Value>| "read"))
        .route("/raw", post(async |RawBody(body): RawBody| body.len().to_string()))
        .route("/bytes", post(async |body: Bytes| body.len().to_string()))
        .route("/unread", post(async || "not read"))
        .route("/more", post(async |RawBody(body): RawBody| body.len().to_string()).layer(more))
        .route("/small", post(async |RawBody(body): RawBody| body.len().to_string()))
}

#[test]
fn by_default_a_half_sent_request_ends_within_ten_seconds() {
    let limits = Limits::default();
    assert_eq!(limits.header, Duration::from_secs(5));
    assert!(limits.body < Duration::from_secs(10));
    assert_eq!((limits.headers, limits.connections), (100, 1024));
    assert_eq!(limits.body_bytes, 1024 * 1024);
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let server = Server::start(routes(), short());
    let started = Instant::now();
    assert_eq!(server.connect().await.rest().await, "");
    let took = started.elapsed();
    assert!(took >= ms(200) && took < ms(2000), "closed after {took:?}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_answer() {
    let server = Server::start(routes(), short());
    let mut raw = server.connect().await;
    raw.send("GET /ok HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(raw.answer().await.status(), 200);
}

#[tokio::test]
async fn a_head_in_small_pieces_is_cut_off() {
    let server = Server::start(routes(), short());
    let raw = server.connect().await;
    let (mut read, mut write) = raw.0.into_split();
    let trickle = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let mut each = tokio::time::interval(ms(20));
        for byte in b"GET /ok HTTP/1.1\r\nX-Long: ".iter().chain([b'a'].iter().cycle()) {
            each.tick().await;
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
    });
    let started = Instant::now();
    let mut sink = Vec::new();
    // Closed with bytes on their way, so that a reset is as good an end as any.
    let _ = soon("the cut", tokio::io::AsyncReadExt::read_to_end(&mut read, &mut sink)).await;
    assert!(started.elapsed() < ms(2000));
    assert!(!String::from_utf8_lossy(&sink).contains("200 OK"));
    soon("the writer", trickle).await.expect("no panic");
}

#[tokio::test]
async fn a_half_sent_body_is_answered_408() {
    let server = Server::start(routes(), short());
    for path in ["/json", "/raw", "/bytes"] {
        for (length, part) in
            [("Content-Length: 100", "{\"a\""), ("Transfer-Encoding: chunked", "4\r\n{\"a\"\r\n")]
        {
            let mut raw = server.connect().await;
            let started = Instant::now();
            raw.send(&format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{length}\r\n\r\n{part}"
            ))
            .await;
            let answer = raw.answer().await;
            assert_eq!(answer.problem().code, ErrorCode::RequestTimeout, "{path} {length}");
            let took = started.elapsed();
            assert!(took >= ms(200) && took < ms(2000), "{path}: after {took:?}");
        }
    }
}

#[tokio::test]
async fn a_body_may_take_long_while_it_moves_but_not_trickle() {
    let server = Server::start(routes(), short());
    let mib = "x".repeat(1024 * 1024);
    let mut each = tokio::time::interval(ms(150));
    let mut raw = server.connect().await;
    raw.send("POST /more HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n").await;
    raw.send("Content-Length: 4194304\r\n\r\n").await;
    let started = Instant::now();
    for _ in 0..4 {
        each.tick().await;
        raw.send(&mib).await;
    }
    assert_eq!(raw.answer().await.body(), "4194304");
    assert!(started.elapsed() > short().body);

    let mut raw = server.connect().await;
    raw.send("POST /more HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n").await;
    let started = Instant::now();
    let (mut read, mut write) = raw.0.into_split();
    let mut answer = [0; 16];
    let came = tokio::io::AsyncReadExt::read(&mut read, &mut answer);
    tokio::pin!(came);
    let mut each = tokio::time::interval(ms(20));
    loop {
        tokio::select! {
            read = &mut came => break assert!(read.is_ok()),
            _ = each.tick() => {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut write, b"x").await;
            }
        }
    }
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{answer:?}");
    assert!(started.elapsed() < ms(2000));
}

#[tokio::test]
async fn a_connection_that_was_read_to_its_end_closes_without_lingering() {
    let server = Server::start(routes(), Limits { header: ms(100), ..short() });
    let mut raw = server.connect().await;
    raw.send("POST /raw HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    raw.send("2\r\nab\r\n0\r\n\r\n").await;
    assert_eq!(raw.answer().await.body(), "2");
    let started = Instant::now();
    // The client's half stays open, so that a lingering server would be seen to wait.
    assert_eq!(server.end().await.cut, 0);
    assert!(started.elapsed() < ms(500));
    drop(raw);
}

#[tokio::test]
async fn an_answer_that_needs_no_body_does_not_wait_for_one() {
    let server = Server::start(routes(), Limits::default());
    let mut raw = server.connect().await;
    raw.send("POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nab").await;
    let answer = raw.answer().await;
    assert_eq!((answer.status(), answer.body()), (200, "not read"));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_answered_413() {
    let server = Server::start(routes(), Limits { body_bytes: 1000, ..short() });
    let body = "x".repeat(1001);
    let kind = "Content-Type: application/json";
    for path in ["/json", "/small"] {
        let head = format!("POST {path} HTTP/1.1\r\n{kind}\r\nContent-Length: 1001");
        assert_eq!(server.ask(&head, &body).await.problem().code, ErrorCode::TooLarge, "{path}");
        let head = format!("POST {path} HTTP/1.1\r\n{kind}\r\nTransfer-Encoding: chunked");
        let chunked = format!("3E9\r\n{body}\r\n0\r\n\r\n");
        assert_eq!(server.ask(&head, &chunked).await.problem().code, ErrorCode::TooLarge, "{path}");
    }
    let fits = server.ask("POST /small HTTP/1.1\r\nContent-Length: 1000", &body[1..]).await;
    assert_eq!(fits.body(), "1000");
    // The larger limit is of its routes alone.
    let more = server.ask("POST /more HTTP/1.1\r\nContent-Length: 1001", &body).await;
    assert_eq!(more.body(), "1001");
}

#[tokio::test]
async fn the_413_arrives_although_the_client_sends_on() {
    let server = Server::start(routes(), Limits::default());
    let body = "x".repeat(8 * 1024 * 1024);
    let head = format!("POST /small HTTP/1.1\r\nContent-Length: {}", body.len());
    assert_eq!(server.ask(&head, &body).await.problem().code, ErrorCode::TooLarge);
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let server = Server::start(routes(), short());
    let many: String = (0..120).map(|i| format!("\r\nx-{i}: 1")).collect();
    assert_eq!(server.ask(&format!("GET /ok HTTP/1.1{many}"), "").await.status(), 431);
    let long = "a".repeat(100 * 1024);
    let answer = server.ask(&format!("GET /ok HTTP/1.1\r\nx: {long}"), "").await;
    assert_eq!(answer.status(), 431);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_slot() {
    let limits = Limits { connections: 2, header: Duration::from_secs(60), ..Limits::default() };
    let server = Server::start(routes(), limits);
    let ask = "GET /ok HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (mut a, mut b) = (server.connect().await, server.connect().await);
    for raw in [&mut a, &mut b] {
        raw.send(ask).await;
        raw.until("fine").await;
    }
    let mut third = server.connect().await;
    third.send(ask).await;
    let early = tokio::time::timeout(ms(150), third.0.readable()).await;
    assert!(early.is_err(), "a third connection was served");
    drop(a);
    third.until("fine").await;
}

#[tokio::test]
async fn a_client_that_takes_no_bytes_is_cut_off() {
    let big = Router::new().route("/big", get(async || vec![b'x'; 64 * 1024 * 1024]));
    let server = Server::start(big, Limits { write: ms(200), connections: 1, ..short() });
    let mut lazy = server.connect().await;
    lazy.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    // The only slot is free again without the lazy client having read anything.
    assert_eq!(server.ask("GET /none HTTP/1.1", "").await.status(), 404);
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_answered_503() {
    let slow = Router::new().route("/slow", get(async || std::future::pending::<()>().await));
    let server = Server::start(slow, Limits { request: ms(100), ..short() });
    let answer = server.ask("GET /slow HTTP/1.1", "").await;
    assert_eq!(answer.problem().code, ErrorCode::Overloaded);
    assert_eq!(answer.header("retry-after"), Some("1"));
}
