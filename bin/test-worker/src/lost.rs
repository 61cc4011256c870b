//! A request whose answer nobody hears.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Wire time for a connection, and for the first byte of an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the head of a granted request begins.
const YES: &[u8; 12] = b"HTTP/1.1 200";

/// Posts `body` and cuts the connection: at once, or when the answer is there and was not
/// read. Gives whether there was one, and it was a yes.
///
/// # Errors
/// If the URL is not `http://host:port/..`, or the request cannot be sent whole.
pub async fn post_and_cut(url: &str, bearer: &str, body: &str, at_once: bool) -> io::Result<bool> {
    let rest = url.strip_prefix("http://").ok_or(io::ErrorKind::InvalidInput)?;
    let (host, path) = rest.split_once('/').ok_or(io::ErrorKind::InvalidInput)?;
    let request = format!(
        "POST /{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {bearer}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = timeout(PATIENCE, TcpStream::connect(host)).await??;
    connection.write_all(request.as_bytes()).await?;
    if at_once {
        return Ok(false);
    }
    let mut head = [0; YES.len()];
    let answered = timeout(PATIENCE, connection.peek(&mut head)).await;
    Ok(matches!(answered, Ok(Ok(_))) && head == *YES)
}
