use std::time::Duration;

use futures_util::SinkExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// A WebSocket to a LiveKit server.
pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How long one frame may take to be written before the connection counts as lost.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Buffers of a socket, in bytes: signalling is small, and there is a socket for each call.
const BUFFER_BYTES: usize = 4 * 1024;

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("status {0}")]
    Refused(u16),
    #[error("not a usable address: {0}")]
    Url(String),
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Failed(String),
}

/// The server's address for WebSockets, without a slash at the end.
pub(crate) fn websocket_url(url: &str) -> Result<String, ConnectError> {
    let url = url.trim_end_matches('/');
    let url = match url.split_once("://") {
        Some(("ws" | "http", rest)) => format!("ws://{rest}"),
        Some(("wss" | "https", _)) => {
            return Err(ConnectError::Url("TLS is not built in, use ws://".to_owned()));
        }
        _ => return Err(ConnectError::Url("expected ws://host:port".to_owned())),
    };
    if url.len() == "ws://".len() {
        return Err(ConnectError::Url("expected ws://host:port".to_owned()));
    }
    Ok(url)
}

/// Opens `path` (with its query) at `url`, with `token` in the Authorization header.
pub(crate) async fn connect(
    url: &str,
    path: &str,
    token: &str,
    limit: Duration,
) -> Result<Socket, ConnectError> {
    let address = format!("{}{path}", websocket_url(url)?);
    let mut request =
        address.into_client_request().map_err(|error| ConnectError::Url(error.to_string()))?;
    let bearer = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| ConnectError::Failed("the token is not a header value".to_owned()))?;
    request.headers_mut().insert("Authorization", bearer);
    let config =
        WebSocketConfig::default().read_buffer_size(BUFFER_BYTES).write_buffer_size(BUFFER_BYTES);
    let connecting = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
    match tokio::time::timeout(limit, connecting).await {
        Err(_) => Err(ConnectError::Timeout(limit)),
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(tungstenite::Error::Http(response))) => {
            Err(ConnectError::Refused(response.status().as_u16()))
        }
        Ok(Err(tungstenite::Error::Url(error))) => Err(ConnectError::Url(error.to_string())),
        Ok(Err(error)) => Err(ConnectError::Failed(error.to_string())),
    }
}

/// Writes one frame, or says that the connection is lost.
pub(crate) async fn send(socket: &mut Socket, message: Message) -> Result<(), String> {
    match tokio::time::timeout(WRITE_TIMEOUT, socket.send(message)).await {
        Err(_) => Err(format!("a write took longer than {WRITE_TIMEOUT:?}")),
        Ok(result) => result.map_err(|error| error.to_string()),
    }
}

/// A protobuf message as a binary frame.
pub(crate) fn binary(message: &impl prost::Message) -> Message {
    Message::Binary(message.encode_to_vec().into())
}

/// A close frame for an orderly end (code 1000).
pub(crate) fn normal_close() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

/// Reads a binary frame's protobuf message.
pub(crate) fn decode<M: prost::Message + Default>(bytes: &[u8]) -> Result<M, String> {
    M::decode(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_sdks_read_them() {
        let read = |url| websocket_url(url).map_err(|error| error.to_string());
        assert_eq!(read("http://h:1/"), Ok("ws://h:1".to_owned()));
        assert_eq!(read("ws://h:1"), Ok("ws://h:1".to_owned()));
        for bad in ["h:1", "wss://h", "ftp://h", "ws://", ""] {
            assert!(read(bad).is_err(), "{bad} was read");
        }
    }
}
