use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use dialtone_serve::{Drained, Limits};
use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use crate::support::{Server, ms, soon};

const ASK: &str = "GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Tells when a request is inside, and answers it when told to.
#[derive(Default, Clone)]
struct Door {
    inside: Arc<Notify>,
    open: Arc<Notify>,
}

impl Door {
    fn routes(&self) -> Router {
        let door = self.clone();
        let wait = async move || {
            door.inside.notify_one();
            door.open.notified().await;
            "done"
        };
        Router::new().route("/wait", get(wait)).route("/ok", get(async || "fine"))
    }
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_ends() {
    let door = Door::default();
    let server = Server::start(door.routes(), Limits::default());
    let (mut busy, mut idle) = (server.connect().await, server.connect().await);
    idle.send("GET /ok HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    idle.until("fine").await;
    busy.send(ASK).await;
    soon("the handler", door.inside.notified()).await;
    server.stop.cancel();
    // The idle connection ends at once, long before its idle time.
    assert_eq!(idle.rest().await, "");
    assert!(TcpStream::connect(server.addr).await.is_err(), "a new connection was taken");
    assert!(!server.task.is_finished());
    door.open.notify_one();
    let answer = busy.answer().await;
    assert_eq!((answer.status(), answer.body()), (200, "done"));
    assert_eq!(server.end().await, Drained { accepted: 2, cut: 0 });
}

#[tokio::test]
async fn what_does_not_finish_is_cut() {
    let door = Door::default();
    let server = Server::start(door.routes(), Limits { drain: ms(100), ..Limits::default() });
    let mut busy = server.connect().await;
    busy.send(ASK).await;
    soon("the handler", door.inside.notified()).await;
    let started = Instant::now();
    assert_eq!(server.end().await, Drained { accepted: 1, cut: 1 });
    assert!(started.elapsed() < ms(2000));
    assert_eq!(busy.rest().await, "");
}

#[tokio::test]
async fn an_idle_server_ends_at_once() {
    let server = Server::start(Router::new(), Limits::default());
    let started = Instant::now();
    assert_eq!(server.end().await, Drained { accepted: 0, cut: 0 });
    assert!(started.elapsed() < ms(1000));
}

/// Takes any upgrade and echoes what comes.
async fn echo(mut request: Request, ended: Arc<Semaphore>) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgrade.await.expect("upgraded"));
        let mut buf = [0; 64];
        while let Ok(read @ 1..) = io.read(&mut buf).await {
            io.write_all(&buf[..read]).await.expect("echoed");
        }
        ended.add_permits(1);
    });
    let headers = [("connection", "upgrade"), ("upgrade", "echo")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

#[tokio::test]
async fn an_upgraded_connection_outlives_the_limits_but_not_the_drain() {
    let ended = Arc::new(Semaphore::new(0));
    let on_end = Arc::clone(&ended);
    let router =
        Router::new().route("/echo", get(move |request: Request| echo(request, on_end.clone())));
    let limits = Limits {
        header: ms(100),
        body: ms(100),
        request: ms(100),
        drain: ms(100),
        connections: 1,
        ..Limits::default()
    };
    let server = Server::start(router, limits);
    let mut raw = server.connect().await;
    raw.send(
        "GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
    )
    .await;
    assert!(raw.until("\r\n\r\n").await.starts_with("HTTP/1.1 101"));
    // It counts as a connection, and none of the short limits ends it meanwhile.
    let waiting = server.connect().await;
    assert!(tokio::time::timeout(ms(300), waiting.0.readable()).await.is_err());
    raw.send("still here").await;
    raw.until("still here").await;
    assert_eq!(server.end().await.cut, 1);
    let end = soon("the upgraded task", ended.acquire()).await;
    assert!(end.is_ok());
}
