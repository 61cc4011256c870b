use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

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

/// Received bytes that buy a body another second. A long upload may take long while it
/// moves; a trickle may not.
const BYTES_PER_SECOND: u64 = 1024 * 1024;

/// The body of a request, with a limit on how long its bytes are waited for. What the
/// handler does between two reads does not count.
pub struct RequestBody {
    inner: Incoming,
    limit: Duration,
    received: u64,
    waited: Duration,
    waiting_since: Option<Instant>,
    ended: bool,
    // Made at the first wait only: most bodies arrive with their head.
    timer: Option<Pin<Box<Sleep>>>,
    late: Arc<AtomicBool>,
    unread: Arc<AtomicBool>,
}

impl RequestBody {
    /// Sets `late` when the limit passes, and `unread` when the body is dropped before
    /// its end.
    pub fn new(
        inner: Incoming,
        limit: Duration,
        late: Arc<AtomicBool>,
        unread: Arc<AtomicBool>,
    ) -> Self {
        let (received, waited, waiting_since) = (0, Duration::ZERO, None);
        let (ended, timer) = (false, None);
        Self { inner, limit, received, waited, waiting_since, ended, timer, late, unread }
    }

    /// How long the wait that begins now may last: the longest pause, and no longer than
    /// the slowest pace allows for all waits together.
    fn patience(&self) -> Duration {
        let moved = Duration::from_millis(self.received.saturating_mul(1000) / BYTES_PER_SECOND);
        self.limit.min((self.limit + moved).saturating_sub(self.waited))
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
            if let Some(since) = this.waiting_since.take() {
                this.waited += since.elapsed();
            }
            this.ended = frame.is_none();
            if let Some(Ok(frame)) = &frame {
                this.received += frame.data_ref().map_or(0, Bytes::len) as u64;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)));
        }
        if this.waiting_since.is_none() {
            let now = Instant::now();
            this.waiting_since = Some(now);
            let until = now + this.patience();
            match &mut this.timer {
                Some(timer) => timer.as_mut().reset(until),
                None => this.timer = Some(Box::pin(sleep_until(until))),
            }
        }
        if let Some(timer) = &mut this.timer {
            ready!(timer.as_mut().poll(cx));
        }
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
        if !self.ended && !self.inner.is_end_stream() {
            self.unread.store(true, Ordering::Relaxed);
        }
    }
}
