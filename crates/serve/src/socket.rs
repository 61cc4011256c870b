use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How long, and how much of, a request that was answered early is still read away.
/// Closing with unread bytes makes the kernel send a reset, which can overtake the
/// answer: the client would see a broken connection instead of its 413.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// One accepted connection, upgraded or not. It holds its slot of the connection limit
/// for as long as it lives, ends when the server is done draining, and gives up on a
/// client that takes no bytes.
pub struct Socket {
    stream: TcpStream,
    killed: Pin<Box<WaitForCancellationFutureOwned>>,
    write_limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    unread: Arc<AtomicBool>,
    linger: Option<Linger>,
    _slot: OwnedSemaphorePermit,
}

struct Linger {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl Socket {
    /// `unread` tells, when the socket is closed, that the client may still be sending.
    pub fn new(
        stream: TcpStream,
        slot: OwnedSemaphorePermit,
        kill: CancellationToken,
        write_limit: Duration,
        unread: Arc<AtomicBool>,
    ) -> Self {
        Self {
            stream,
            killed: Box::pin(kill.cancelled_owned()),
            write_limit,
            stalled: None,
            unread,
            linger: None,
            _slot: slot,
        }
    }

    /// Lets a pending write fail when the client has taken nothing for the limit.
    fn watch_write(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let limit = self.write_limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes")))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.killed.as_mut().poll(cx).is_ready() {
            let cut = "the server has ended";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, cut)));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch_write(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch_write(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.unread.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let linger = this
            .linger
            .get_or_insert_with(|| Linger { until: Box::pin(sleep(LINGER)), left: LINGER_BYTES });
        let mut scratch = [0; 16 * 1024];
        loop {
            if linger.until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut buf = ReadBuf::new(&mut scratch);
            let end = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf)).is_err();
            let read = buf.filled().len();
            linger.left = linger.left.saturating_sub(read);
            if end || read == 0 || linger.left == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
