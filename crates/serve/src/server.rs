use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::Limits;
use crate::gate::Gate;
use crate::host::Hosts;
use crate::socket::Socket;

/// Bytes of a request's head, and of the buffer it is read into.
const HEAD_BYTES: usize = 64 * 1024;
/// First and longest pause after an accept that failed for want of descriptors or
/// memory. The condition passes by itself, and trying at once again would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections accepted in all.
    pub accepted: u64,
    /// Connections that were still open at the drain limit and were cut.
    pub cut: usize,
}

/// Serves `router` on `listener` until `shutdown` is cancelled and open connections
/// have finished, or [`Limits::drain`] has passed.
///
/// From the cancellation on no connection is accepted, idle ones are closed, and each
/// other is closed after its current response. Streams that never end by themselves
/// (server-sent events, WebSockets) should watch the token too; they are cut at the
/// drain limit.
///
/// # Errors
/// If the listener cannot be used at all. Errors of single connections, and want of
/// descriptors, never end the server.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) -> io::Result<Drained> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let hosts = Hosts::on(listener.local_addr()?.ip(), &limits.hosts);
    let slots = Arc::new(Semaphore::new(limits.connections));
    // Cut when this future is dropped as well, not only at the end of the drain.
    let kill = CancellationToken::new();
    let _cut_on_drop = kill.clone().drop_guard();
    let server = Arc::new(Server {
        gate: Gate::new(router, hosts, limits.clone()),
        limits,
        stop: shutdown,
        kill: kill.clone(),
    });
    let mut connections = JoinSet::new();
    let mut accepted = 0;
    while let Some((stream, slot)) = server.next(&listener, &slots).await? {
        accepted += 1;
        connections.spawn(Arc::clone(&server).connection(stream, slot));
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let all = u32::try_from(server.limits.connections).unwrap_or(u32::MAX);
    // Every socket holds its slot, upgraded ones too: all slots free means all closed.
    let closed = timeout(server.limits.drain, slots.acquire_many(all)).await;
    let cut = match closed {
        Ok(_) => 0,
        Err(_) => server.limits.connections - slots.available_permits(),
    };
    kill.cancel();
    connections.shutdown().await;
    if cut > 0 {
        tracing::warn!(cut, "connections were cut at the drain limit");
    }
    Ok(Drained { accepted, cut })
}

struct Server {
    gate: Gate,
    limits: Limits,
    stop: CancellationToken,
    kill: CancellationToken,
}

impl Server {
    /// The next connection with its slot; `None` from the shutdown on.
    async fn next(
        &self,
        listener: &tokio::net::TcpListener,
        slots: &Arc<Semaphore>,
    ) -> io::Result<Option<(TcpStream, OwnedSemaphorePermit)>> {
        let accept = async {
            let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
            let mut pause = ACCEPT_PAUSE;
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => return Ok((stream, slot)),
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                        return Err(error);
                    }
                    Err(error) => {
                        tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept");
                        sleep(pause).await;
                        pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Ok(None),
            accepted = accept => accepted.map(Some),
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, slot: OwnedSemaphorePermit) {
        // Answers are small and waited for: never held back to be joined with others.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the connection ended before it began");
            return;
        }
        let unread = Arc::new(AtomicBool::new(false));
        let socket =
            Socket::new(stream, slot, self.kill.clone(), self.limits.write, Arc::clone(&unread));
        let service = service_fn(|request| self.gate.answer(request, Arc::clone(&unread)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header)
            .max_headers(self.limits.headers)
            .max_header_size(HEAD_BYTES)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(socket), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
