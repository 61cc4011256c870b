use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures_util::{Sink, SinkExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use crate::server::Shared;

/// The server's side of a WebSocket.
pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// One message: metadata may be 512 KiB, and there is more around it.
const MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Buffers of a socket, in bytes: signalling is small, and there is a socket for each participant.
const BUFFER_BYTES: usize = 4 * 1024;
/// One frame has so long to be written.
const WRITE: Duration = Duration::from_secs(5);

fn says(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
}

/// Whether the request asks for a WebSocket (RFC 6455, section 4.2.1).
pub(crate) fn asks_for_websocket(headers: &HeaderMap) -> bool {
    says(headers, &CONNECTION, "upgrade")
        && says(headers, &UPGRADE, "websocket")
        && says(headers, &SEC_WEBSOCKET_VERSION, "13")
        && headers.contains_key(SEC_WEBSOCKET_KEY)
}

/// Accepts the WebSocket and hands it to `serve` once the upgrade is done.
pub(crate) fn accept<F, R>(server: &Shared, mut request: Request, serve: F) -> Response
where
    F: FnOnce(Socket) -> R + Send + 'static,
    R: Future<Output = ()> + Send,
{
    let key = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let upgrade = hyper::upgrade::on(&mut request);
    server.spawn_connection(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let config = WebSocketConfig::default()
                    .read_buffer_size(BUFFER_BYTES)
                    .write_buffer_size(BUFFER_BYTES)
                    .max_message_size(Some(MESSAGE_BYTES))
                    .max_frame_size(Some(MESSAGE_BYTES));
                let io = TokioIo::new(upgraded);
                serve(WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await).await;
            }
            Err(error) => tracing::debug!(%error, "a WebSocket was not taken up"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, axum::http::HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, axum::http::HeaderValue::from_static("websocket"));
    if let Some(Ok(key)) = key.map(|key| key.parse()) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    }
    response
}

/// Writes one message. `false` if the connection is lost.
pub(crate) async fn send(socket: &mut (impl Sink<Message> + Unpin), message: Message) -> bool {
    match tokio::time::timeout(WRITE, socket.send(message)).await {
        Ok(sent) => sent.is_ok(),
        Err(_) => {
            tracing::warn!("a peer does not read its messages: its connection ends");
            false
        }
    }
}

/// Ends the connection with a close frame: without one, clients log a reset.
pub(crate) async fn close(socket: &mut Socket, code: CloseCode, reason: &'static str) {
    let frame = CloseFrame { code, reason: reason.into() };
    let _ = tokio::time::timeout(WRITE, socket.close(Some(frame))).await;
}
