use std::time::{Duration, Instant};

use axum::Router;
use axum::response::Redirect;
use axum::routing::{get, post};
use dialtone_contract::{ErrorCode, Problem};
use dialtone_serve::Limits;
use dialtone_serve::client::{ClientError, ClientLimits, HttpClient};
use dialtone_serve::problem::{Json, ProblemResponse};
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::support::{Raw, Server, free_port, ms, soon};

fn client(limits: ClientLimits) -> HttpClient {
    HttpClient::new(limits)
}

async fn fetch(client: &HttpClient, url: &str) -> Result<Value, ClientError> {
    soon("the call", client.get_json(url, Some("tok-canary"))).await
}

/// A server that sends `answer` to its first connection and keeps it open.
async fn canned(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("http://{}/x", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let mut raw = Raw(listener.accept().await.expect("a connection").0);
        raw.until("\r\n\r\n").await;
        // The client may leave in the middle.
        let _ = raw.0.write_all(answer.as_bytes()).await;
        std::future::pending::<()>().await;
    });
    url
}

#[tokio::test]
async fn a_closed_port_is_told_from_a_silent_one() {
    let listener = free_port();
    let url = format!("http://{}/x?key=query-canary", listener.local_addr().expect("an address"));
    let hasty = client(ClientLimits { timeout: ms(150), ..ClientLimits::default() });
    let started = Instant::now();
    let error = fetch(&hasty, &url).await.expect_err("silent");
    assert!(matches!(error, ClientError::Timeout { .. }) && !error.never_sent(), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2));

    drop(listener);
    let error = fetch(&HttpClient::default(), &url).await.expect_err("refused");
    assert!(matches!(error, ClientError::Refused { .. }) && error.never_sent(), "{error}");
    assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_never_ends_times_out_as_a_whole() {
    let url = canned("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab".into()).await;
    let hasty = HttpClient::default().with_timeout(ms(150));
    assert!(matches!(fetch(&hasty, &url).await, Err(ClientError::Timeout { .. })));
}

#[tokio::test]
async fn an_answer_beyond_the_cap_is_refused() {
    let capped = client(ClientLimits { response_bytes: 1000, ..ClientLimits::default() });
    let told = "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n".to_owned();
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3E9\r\n{}\r\n",
        "x".repeat(1001)
    );
    for answer in [told, chunked] {
        let url = canned(answer).await;
        let error = fetch(&capped, &url).await.expect_err("too large");
        assert!(matches!(error, ClientError::TooLarge { limit: 1000, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let router = Router::new()
        .route("/from", get(async || Redirect::temporary("/to")))
        .route("/to", get(async || -> Json<Value> { unreachable!("nobody follows") }));
    let server = Server::start(router, Limits::default());
    let client = HttpClient::default();
    let url = server.url("/from");
    let answer = client.request(Method::GET, &url, HeaderMap::new(), None).await.expect("answered");
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    let error = fetch(&client, &url).await.expect_err("not followed");
    assert_eq!(error.status(), Some(StatusCode::TEMPORARY_REDIRECT));
}

#[tokio::test]
async fn urls_that_are_not_plain_http_are_refused() {
    let bad = [
        "",
        "/x",
        "localhost:1",
        "https://localhost/",
        "ftp://localhost/",
        "http://",
        "http://user:pw-canary@localhost/",
        "http://local host/",
    ];
    for url in bad {
        let error = fetch(&HttpClient::default(), url).await.expect_err(url);
        assert!(matches!(error, ClientError::BadUrl { .. }), "{url}: {error}");
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
    let error = HttpClient::default().get_json::<Value>("http://localhost/", Some("a\nb")).await;
    assert!(matches!(error, Err(ClientError::BadRequest { .. })));
}

#[tokio::test]
async fn a_problem_comes_back_as_one_and_nothing_secret_is_shown() {
    let stale = || Problem::new(ErrorCode::StaleAttempt, "body-canary");
    let router = Router::new()
        .route(
            "/echo",
            post(async |headers: HeaderMap, Json(body): Json<Value>| {
                let bearer = headers["authorization"].to_str().expect("text").to_owned();
                Json(json!({ "bearer": bearer, "body": body }))
            }),
        )
        .route("/empty", post(async || StatusCode::NO_CONTENT))
        .route("/stale", post(async move || ProblemResponse(stale())))
        .route("/text", get(async || "body-canary"))
        .route("/plain", get(async || (StatusCode::BAD_GATEWAY, "body-canary")));
    let server = Server::start(router, Limits::default());
    let client = HttpClient::default();
    let echo: Value = client
        .post_json(&server.url("/echo"), Some("tok-canary"), &json!({ "a": 1 }))
        .await
        .expect("answered");
    assert_eq!(echo, json!({ "bearer": "Bearer tok-canary", "body": { "a": 1 } }));
    let nothing: Result<(), _> = client.post_json(&server.url("/empty"), None, &json!({})).await;
    assert!(nothing.is_ok());

    let stale = client
        .post_json::<_, Value>(&server.url("/stale?q=canary"), Some("tok-canary"), "body-canary")
        .await
        .expect_err("409");
    assert_eq!(stale.status(), Some(StatusCode::CONFLICT));
    assert_eq!(stale.problem().map(|problem| problem.code), Some(ErrorCode::StaleAttempt));
    let text = fetch(&client, &server.url("/text")).await.expect_err("not JSON");
    assert!(matches!(text, ClientError::NotExpected { .. }));
    let plain = fetch(&client, &server.url("/plain")).await.expect_err("502");
    assert!(plain.status() == Some(StatusCode::BAD_GATEWAY) && plain.problem().is_none());
    for error in [stale, text, plain] {
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_closed_while_idle_is_replaced() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("http://{}/x", listener.local_addr().expect("an address"));
    let serve_one = async || {
        let mut raw = Raw(listener.accept().await.expect("a connection").0);
        raw.until("\r\n\r\n").await;
        raw.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
        raw
    };
    let client = HttpClient::default();
    for _ in 0..5 {
        let (answer, mut raw) = tokio::join!(fetch(&client, &url), serve_one());
        assert_eq!(answer.expect("answered"), json!({}));
        raw.0.shutdown().await.expect("closed");
        // The client has seen the end when it ends its side.
        assert_eq!(raw.rest().await, "");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_may_have_been_heard() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("http://{}/x", listener.local_addr().expect("an address"));
    let client = HttpClient::default();
    let hang_up = async {
        let mut raw = Raw(listener.accept().await.expect("a connection").0);
        raw.until("\r\n\r\n").await;
    };
    let (answer, ()) = tokio::join!(fetch(&client, &url), hang_up);
    let error = answer.expect_err("broken");
    assert!(matches!(error, ClientError::Broken { .. }) && !error.never_sent(), "{error}");
}
