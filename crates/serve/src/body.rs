use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::BoxError;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// The body did not arrive in time.
#[derive(Debug)]
pub struct BodyTimedOut;

impl fmt::Display for BodyTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body was not sent in time")
    }
}

impl std::error::Error for BodyTimedOut {}

/// Whether `error`, or anything below it, is a [`BodyTimedOut`].
pub fn timed_out(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |e| e.source()).any(|e| e.is::<BodyTimedOut>())
}

/// The body of a request, with a deadline for its last byte.
pub struct RequestBody {
    inner: Incoming,
    until: Instant,
    // Made at the first wait only: most bodies arrive with their head.
    timer: Option<Pin<Box<Sleep>>>,
    late: Arc<AtomicBool>,
    unread: Arc<AtomicBool>,
}

impl RequestBody {
    /// Sets `late` when the deadline passes, and `unread` when the body is dropped
    /// before its end.
    pub fn new(
        inner: Incoming,
        until: Instant,
        late: Arc<AtomicBool>,
        unread: Arc<AtomicBool>,
    ) -> Self {
        Self { inner, until, timer: None, late, unread }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)));
        }
        let until = this.until;
        ready!(this.timer.get_or_insert_with(|| Box::pin(sleep_until(until))).as_mut().poll(cx));
        this.late.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err(BodyTimedOut.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.inner.is_end_stream() {
            self.unread.store(true, Ordering::Relaxed);
        }
    }
}
