//! Server-sent events, pulled by the connection: while a client does not read, nothing is
//! encoded, and the engine's bounded channel fills up.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dialtone_inference::engine::Output;
use hyper::body::{Body, Frame};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use serde::Serialize;

use crate::answer::Answer;

const TYPE: &str = "text/event-stream; charset=utf-8";
/// What ends every stream.
const DONE: &[u8] = b"data: [DONE]\n\n";
/// Parts of an answer that go out together at most, when the client reads more slowly than the
/// model writes.
const TOGETHER: usize = 32;

/// How an answer is written down as events.
pub trait Script: Send + Unpin + 'static {
    /// What comes before the answer.
    fn begin(&mut self, to: &mut Events);
    /// One part of the answer.
    fn output(&mut self, output: Output, to: &mut Events);
}

/// Events, as bytes.
#[derive(Default)]
pub struct Events(Vec<u8>);

impl Events {
    /// One event without a name, with a JSON document.
    pub fn data(&mut self, document: &impl Serialize) {
        let before = self.0.len();
        self.0.extend_from_slice(b"data: ");
        if let Err(error) = serde_json::to_writer(&mut self.0, document) {
            tracing::error!(%error, "an event cannot be written");
            self.0.truncate(before);
            return;
        }
        self.0.extend_from_slice(b"\n\n");
    }

    /// One event with a document that is JSON already.
    pub fn raw(&mut self, document: &[u8]) {
        self.0.extend_from_slice(b"data: ");
        self.0.extend_from_slice(document);
        self.0.extend_from_slice(b"\n\n");
    }
}

/// The response that streams `answer`.
pub fn respond(answer: Answer, script: impl Script) -> Response {
    let body = axum::body::Body::new(Stream { answer, script, begun: false, ended: false });
    let headers = [
        (CONTENT_TYPE, TYPE),
        (CACHE_CONTROL, "no-cache"),
        // nginx holds events back otherwise.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, body).into_response()
}

struct Stream<S> {
    answer: Answer,
    script: S,
    begun: bool,
    ended: bool,
}

impl<S: Script> Body for Stream<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let mut events = Events::default();
        if !this.begun {
            this.begun = true;
            this.script.begin(&mut events);
        }
        for _ in 0..TOGETHER {
            match this.answer.poll_next(context) {
                Poll::Ready(Some(output)) => this.script.output(output, &mut events),
                Poll::Ready(None) => {
                    this.ended = true;
                    events.0.extend_from_slice(DONE);
                    break;
                }
                Poll::Pending => break,
            }
        }
        if events.0.is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(events.0.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
