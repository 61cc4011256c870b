use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Api;
use crate::wait::soon;

/// A stream of server-sent events, each on a connection of its own. Asked for with
/// HTTP/1.0, whose answers are not cut into chunks.
#[derive(Debug)]
pub struct EventStream {
    lines: BufReader<TcpStream>,
    /// Status of the answer.
    pub status: u16,
    /// Comments seen so far.
    pub comments: usize,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub event: String,
    /// Its data.
    pub data: Value,
}

impl EventStream {
    /// Asks for `path`, to go on after the event `last` if there is one.
    ///
    /// # Panics
    /// If no answer comes.
    pub async fn open(api: &Api, path: &str, last: Option<u64>) -> Self {
        Self::open_as(api, path, last, None).await
    }

    /// As [`Self::open`], with an API key where there is one.
    ///
    /// # Panics
    /// If no answer comes.
    pub async fn open_as(api: &Api, path: &str, last: Option<u64>, key: Option<&str>) -> Self {
        let address = api.base().strip_prefix("http://").expect("an http URL");
        let mut socket = TcpStream::connect(address).await.expect("connected");
        let last = last.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let key = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
        let head = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n{last}{key}\r\n");
        socket.write_all(head.as_bytes()).await.expect("asked");
        let mut stream = Self { lines: BufReader::new(socket), status: 0, comments: 0 };
        let status = soon("an answer", stream.line()).await.expect("a status line");
        stream.status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("one");
        while soon("the headers", stream.line()).await.is_some_and(|line| !line.is_empty()) {}
        stream
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).await.ok()?;
        (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// The next message; `None` at the end of the stream.
    ///
    /// # Panics
    /// If a message is not as it must be.
    pub async fn next(&mut self) -> Option<Message> {
        let (mut id, mut event, mut data) = (None, None, None);
        loop {
            let line = self.line().await?;
            match line.split_once(": ") {
                Some(("id", text)) => id = Some(text.parse().expect("a number")),
                Some(("event", text)) => event = Some(text.to_owned()),
                Some(("data", text)) => data = Some(serde_json::from_str(text).expect("JSON")),
                Some(("", _)) => self.comments += 1,
                None if line.is_empty() => {
                    if let (Some(id), Some(event), Some(data)) =
                        (id.take(), event.take(), data.take())
                    {
                        return Some(Message { id, event, data });
                    }
                }
                _ => panic!("`{line}` is no line of a stream"),
            }
        }
    }

    /// Every message up to the end of the stream.
    ///
    /// # Panics
    /// If it does not end within the ceiling.
    pub async fn rest(&mut self, ceiling: Duration) -> Vec<Message> {
        let mut messages = Vec::new();
        let all = async {
            while let Some(message) = self.next().await {
                messages.push(message);
            }
        };
        let ended = timeout(ceiling, all).await;
        assert!(ended.is_ok(), "the stream has not ended; last: {:?}", messages.last());
        messages
    }
}
