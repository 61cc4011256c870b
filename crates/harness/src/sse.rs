//! Reading server-sent events, each stream on a connection of its own: dropping the stream is the
//! client going away.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::http::request::Builder;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Bytes of one message at most.
const MESSAGE_MAX: usize = 1024 * 1024;

/// Why there is no further message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// No answer came.
    #[error("no answer came: {0}")]
    Silent(String),
    /// The answer is no stream.
    #[error("the answer is {status} ({media}) and no stream: {body}")]
    NoStream {
        /// Its status.
        status: u16,
        /// Its content type.
        media: String,
        /// The beginning of its body.
        body: String,
    },
    /// The stream broke off.
    #[error("the stream broke off: {0}")]
    Broken(String),
}

/// One message of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its name; empty where it has none.
    pub event: String,
    /// Its lines.
    pub data: String,
}

/// An open stream.
#[derive(Debug)]
pub struct Sse {
    body: Incoming,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were given as messages.
    read: usize,
    ended: bool,
    connection: JoinHandle<()>,
}

impl Drop for Sse {
    fn drop(&mut self) {
        // The connection closes with its task.
        self.connection.abort();
    }
}

impl Sse {
    /// Posts `body` as JSON to `http://127.0.0.1:<port><path>`.
    ///
    /// # Errors
    /// If the answer is not a stream.
    pub async fn open(port: u16, path: &str, body: Vec<u8>) -> Result<Self, SseError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(CONTENT_TYPE, "application/json");
        Self::send(port, request, body).await
    }

    /// Asks for the stream at `http://127.0.0.1:<port><path>`, from behind the message with the id
    /// `after` on; 0 is the beginning.
    ///
    /// # Errors
    /// If the answer is not a stream.
    pub async fn resume(port: u16, path: &str, after: u64) -> Result<Self, SseError> {
        let mut request = Request::builder().method(Method::GET).uri(path);
        if after > 0 {
            request = request.header("last-event-id", after);
        }
        Self::send(port, request, Vec::new()).await
    }

    async fn send(port: u16, request: Builder, body: Vec<u8>) -> Result<Self, SseError> {
        let silent = |error: &dyn std::error::Error| SseError::Silent(crate::http::chain(error));
        let socket = TcpStream::connect(("127.0.0.1", port)).await.map_err(|e| silent(&e))?;
        let _ = socket.set_nodelay(true);
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(socket)).await.map_err(|e| silent(&e))?;
        let connection = tokio::spawn(async move {
            // How it ends is seen by whoever reads the body.
            let _ = connection.await;
        });
        let request = request
            .header(HOST, format!("127.0.0.1:{port}"))
            .header(ACCEPT, "text/event-stream")
            .body(Full::new(Bytes::from(body)));
        let sent = match request {
            Ok(request) => sender.send_request(request).await.map_err(|e| silent(&e)),
            Err(error) => Err(silent(&error)),
        };
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => {
                connection.abort();
                return Err(error);
            }
        };
        let media = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media = media.unwrap_or("no content type").to_owned();
        let status = answer.status();
        let mut stream = Self {
            body: answer.into_body(),
            buffer: Vec::new(),
            read: 0,
            ended: false,
            connection,
        };
        if status == StatusCode::OK && media.starts_with("text/event-stream") {
            return Ok(stream);
        }
        let body = stream.rest().await;
        Err(SseError::NoStream { status: status.as_u16(), media, body })
    }

    /// The data of the next message; `None` at the end of the stream.
    ///
    /// # Errors
    /// If the stream ends in the middle of a message, breaks off, or a message is too long.
    pub async fn next(&mut self) -> Result<Option<String>, SseError> {
        Ok(self.next_message().await?.map(|message| message.data))
    }

    /// The next message that has data; `None` at the end of the stream.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn next_message(&mut self) -> Result<Option<Message>, SseError> {
        loop {
            if let Some(message) = self.message()? {
                return Ok(Some(message));
            }
            if self.ended {
                let rest = String::from_utf8_lossy(&self.buffer).trim().to_owned();
                return match rest.as_str() {
                    "" => Ok(None),
                    _ => Err(SseError::Broken(format!("it ends in the middle of `{rest}`"))),
                };
            }
            if self.buffer.len() > MESSAGE_MAX {
                return Err(SseError::Broken(format!("a message is over {MESSAGE_MAX} bytes")));
            }
            self.fill().await?;
        }
    }

    /// The next message of the buffer that has data; comments and other fields are passed over.
    fn message(&mut self) -> Result<Option<Message>, SseError> {
        while let Some((end, gap)) = blank_line(&self.buffer[self.read..]) {
            let block = &self.buffer[self.read..self.read + end];
            let block = std::str::from_utf8(block)
                .map_err(|_| SseError::Broken("a message is not UTF-8".to_owned()))?;
            let message = message_of(block);
            self.read += end + gap;
            if message.is_some() {
                return Ok(message);
            }
        }
        // What was read goes at once, not message by message.
        self.buffer.drain(..std::mem::take(&mut self.read));
        Ok(None)
    }

    async fn fill(&mut self) -> Result<(), SseError> {
        match self.body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
            }
            Some(Err(error)) => return Err(SseError::Broken(crate::http::chain(&error))),
            None => self.ended = true,
        }
        Ok(())
    }

    /// The beginning of a body that is no stream.
    async fn rest(&mut self) -> String {
        /// Enough to see what it is.
        const SHOWN: usize = 300;
        while !self.ended && self.buffer.len() < SHOWN && self.fill().await.is_ok() {}
        self.buffer.truncate(SHOWN);
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}

/// The message of a block; `None` if it has no data.
fn message_of(block: &str) -> Option<Message> {
    let mut event = "";
    let mut data = Vec::new();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => data.push(value),
            "event" => event = value,
            _ => {}
        }
    }
    let message = Message { event: event.to_owned(), data: data.join("\n") };
    (!data.is_empty()).then_some(message)
}

/// Where the first blank line begins, and how long it is with the line end before it.
fn blank_line(buffer: &[u8]) -> Option<(usize, usize)> {
    let mut from = 0;
    loop {
        let end = from + buffer[from..].iter().position(|byte| *byte == b'\n')?;
        let gap = match buffer[end + 1..] {
            [b'\n', ..] => 2,
            [b'\r', b'\n', ..] => 3,
            _ => {
                from = end + 1;
                continue;
            }
        };
        let before = end.checked_sub(1).filter(|before| buffer[*before] == b'\r');
        return Some(before.map_or((end, gap), |before| (before, gap + 1)));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// A server that answers one request with these bytes and closes.
    fn answering(parts: &'static [&'static str]) -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            let mut head = [0; 1024];
            let _ = socket.read(&mut head);
            for part in parts {
                let _ = socket.write_all(part.as_bytes());
            }
        });
        port
    }

    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

    async fn read(parts: &'static [&'static str]) -> (Vec<String>, Option<SseError>) {
        let mut messages = Vec::new();
        let mut stream = match Sse::open(answering(parts), "/", b"{}".to_vec()).await {
            Ok(stream) => stream,
            Err(error) => return (messages, Some(error)),
        };
        loop {
            match stream.next().await {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return (messages, None),
                Err(error) => return (messages, Some(error)),
            }
        }
    }

    #[tokio::test]
    async fn messages_are_read_however_they_are_cut() {
        let (messages, error) = read(&[
            HEAD,
            ": hello\n\ndata: {\"a\"",
            ":1}\n\nevent: x\r\ndata: two\r\ndata: lines\r\n\r",
            "\ndata:[DONE]\n\n",
        ])
        .await;
        assert_eq!((messages.join("|").as_str(), error), ("{\"a\":1}|two\nlines|[DONE]", None));
    }

    #[tokio::test]
    async fn a_message_has_its_name_and_comments_are_none() {
        let text = ": beat\n\nid: 7\nevent: entry.leased\ndata: {}\n\nevent: done\n\ndata: x\n\n";
        let port = answering(Box::leak(Box::new([HEAD, text])));
        let mut stream = Sse::resume(port, "/", 6).await.expect("a stream");
        let mut told = Vec::new();
        while let Some(message) = stream.next_message().await.expect("whole") {
            told.push((message.event, message.data));
        }
        let pair = |event: &str, data: &str| (event.to_owned(), data.to_owned());
        assert_eq!(told, [pair("entry.leased", "{}"), pair("", "x")]);
    }

    #[tokio::test]
    async fn half_a_stream_is_no_end() {
        let (messages, error) = read(&[HEAD, "data: one\n\ndata: tw"]).await;
        assert_eq!(messages, ["one"]);
        assert!(matches!(error, Some(SseError::Broken(why)) if why.contains("data: tw")));
        let chunked = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                       transfer-encoding: chunked\r\n\r\nb\r\ndata: one\n\n\r\n";
        let (messages, error) = read(Box::leak(Box::new([chunked]))).await;
        assert_eq!(messages, ["one"]);
        assert!(matches!(error, Some(SseError::Broken(_))), "{error:?}");
    }

    #[tokio::test]
    async fn what_is_no_stream_is_shown() {
        let (_, error) =
            read(&["HTTP/1.1 500 Oh\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\noops"])
                .await;
        let error = error.expect("no stream").to_string();
        assert_eq!(error, "the answer is 500 (text/plain) and no stream: oops");
        let (_, error) = read(&[]).await;
        assert!(matches!(error, Some(SseError::Silent(_))), "{error:?}");
    }
}
