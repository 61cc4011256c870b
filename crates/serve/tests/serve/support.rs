use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use dialtone_contract::Problem;
use dialtone_serve::{Drained, Limits, ListenArgs, listen, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing in these tests takes so long unless it hangs.
pub const HANG: Duration = Duration::from_secs(5);

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Limits that hold within the patience of a test.
pub fn short() -> Limits {
    Limits { header: ms(250), body: ms(250), ..Limits::default() }
}

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.unwrap_or_else(|_| panic!("{what} hangs"))
}

pub struct Server {
    pub addr: SocketAddr,
    pub stop: CancellationToken,
    pub task: JoinHandle<std::io::Result<Drained>>,
}

impl Server {
    pub fn start(router: Router, limits: Limits) -> Self {
        let listener = free_port();
        let addr = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, router, limits, stop.clone()));
        Self { addr, stop, task }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub async fn connect(&self) -> Raw {
        Raw(TcpStream::connect(self.addr).await.expect("connected"))
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, head: &str, body: &str) -> Answer {
        let mut raw = self.connect().await;
        raw.send(&format!("{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n{body}")).await;
        raw.answer().await
    }

    /// Posts `body` as JSON.
    pub async fn post(&self, path: &str, body: &str) -> Answer {
        let head = format!(
            "POST {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}",
            body.len()
        );
        self.ask(&head, body).await
    }

    pub async fn end(self) -> Drained {
        self.stop.cancel();
        soon("the drain", self.task).await.expect("no panic").expect("drained")
    }
}

pub fn free_port() -> TcpListener {
    listen("test", &ListenArgs::default()).expect("a free port")
}

/// A connection that is spoken to in bytes.
pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("sent");
    }

    /// Everything up to the end of the connection, which must be an orderly one.
    pub async fn rest(&mut self) -> String {
        let mut text = String::new();
        soon("the answer", self.0.read_to_string(&mut text)).await.expect("no reset");
        text
    }

    pub async fn answer(&mut self) -> Answer {
        Answer(self.rest().await)
    }

    /// What has come when `end` has.
    pub async fn until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        let read = async {
            while !text.ends_with(end.as_bytes()) {
                text.push(self.0.read_u8().await.expect("more"));
            }
        };
        soon(end, read).await;
        String::from_utf8(text).expect("text")
    }
}

#[derive(Debug)]
pub struct Answer(pub String);

impl Answer {
    pub fn status(&self) -> u16 {
        let status = self.0.split(' ').nth(1).unwrap_or_default();
        status.parse().unwrap_or_else(|_| panic!("no answer but {:?}", self.0))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.0.split("\r\n\r\n").next()?.lines().skip(1);
        head.filter_map(|line| line.split_once(": "))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }

    pub fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// The problem, checked to be one through and through.
    pub fn problem(&self) -> Problem {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.0);
        let problem: Problem = serde_json::from_str(self.body()).expect(&self.0);
        assert_eq!(problem.status, self.status());
        problem
    }
}
