//! One client of a soak: what it does is decided by the seed, before it does it.

use std::time::Duration;

use dialtone_clock::seed_from;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::span;

/// Tokens of an answer, if its client stays.
const TOKENS: u32 = 200;
/// Bytes that a client which reads slowly lets the kernel keep for it.
const SMALL_BUFFER: u32 = 4096;
/// How long a client tries while there is no room. Of many clients some are unlucky for long.
const PATIENCE: Duration = Duration::from_secs(120);
/// Who hears that there is no room comes again after this, times one to four.
const AGAIN: Duration = Duration::from_millis(5);
/// Conversations that clients are turns of.
const SESSIONS: u32 = 40;

/// When a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// So long after it has asked, whatever has come.
    Blindly(Duration),
    /// After so many events.
    After(u32),
    /// When it has heard all.
    AtTheEnd,
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Its number.
    number: u32,
    /// When it leaves.
    pub leaves: Leaves,
    /// Between two looks at what has come; zero if it reads at once.
    pub pause: Duration,
    /// Leaves with a reset instead of a goodbye.
    reset: bool,
    /// Which of [`AGAIN`] it takes.
    again: u32,
}

/// What a client saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// How often there was no room for it.
    pub refused: u32,
    /// Events that it read.
    pub events: u32,
    /// Whether its answer was complete.
    pub whole: bool,
}

impl Visit {
    /// The visit of the client `number` of a run with this seed; `slow` of 100 read slowly.
    pub fn plan(seed: u64, number: u32, slow: u32) -> Self {
        // Each choice has a stream of its own, so that a new one shifts no other.
        let roll = |what: &[u8], sides: u64| {
            let hash = seed_from(seed, &[b"visit", &number.to_le_bytes(), what]);
            u32::try_from((hash >> 16) % sides).unwrap_or_default()
        };
        let leaves = match roll(b"leaves", 100) {
            0..5 => Leaves::Blindly(Duration::from_micros(roll(b"moment", 20_000).into())),
            5..15 => Leaves::AtTheEnd,
            _ => Leaves::After(1 + roll(b"events", 40)),
        };
        let pause = Duration::from_millis((20 + roll(b"pause", 100)).into());
        let is_slow = roll(b"slow", 100) < slow;
        Self {
            number,
            leaves,
            pause: if is_slow { pause } else { Duration::ZERO },
            reset: roll(b"reset", 2) == 1,
            again: 1 + roll(b"again", 4),
        }
    }

    /// Comes, as often as there is no room, and leaves. Some news must come `within` this.
    ///
    /// # Errors
    /// What the worker did that it must not do.
    pub async fn make(&self, port: u16, within: Duration) -> Result<Seen, String> {
        let begun = Instant::now();
        let mut seen = Seen::default();
        loop {
            match self.once(port, within, &mut seen).await {
                Ok(Came::In) => return Ok(seen),
                Ok(Came::ToNoRoom) if begun.elapsed() < PATIENCE => {
                    seen.refused += 1;
                    sleep(AGAIN * self.again).await;
                }
                Ok(Came::ToNoRoom) => {
                    return Err(format!(
                        "client {}: there was no room within {}",
                        self.number,
                        span::human(PATIENCE)
                    ));
                }
                Err(why) => return Err(format!("client {}: {why}", self.number)),
            }
        }
    }

    async fn once(&self, port: u16, within: Duration, seen: &mut Seen) -> Result<Came, String> {
        let failed = |error: std::io::Error| error.to_string();
        let connected = timeout(within, self.connect(port)).await;
        let mut stream = connected.map_err(|_| silence(within))?.map_err(failed)?;
        stream.write_all(self.request().as_bytes()).await.map_err(failed)?;
        if let Leaves::Blindly(after) = self.leaves {
            sleep(after).await;
            self.leave(stream);
            return Ok(Came::In);
        }
        let mut events = Reader { bytes: Vec::new(), within };
        match events.status(&mut stream).await? {
            200 => {}
            429 => return Ok(Came::ToNoRoom),
            other => return Err(format!("it was answered {other}: {}", events.text())),
        }
        let most = if let Leaves::After(most) = self.leaves { most } else { u32::MAX };
        while events.count() < most && !events.done() {
            if !self.pause.is_zero() {
                sleep(self.pause).await;
            }
            if !events.more(&mut stream).await? {
                break;
            }
        }
        (seen.events, seen.whole) = (events.count(), events.done());
        if self.leaves == Leaves::AtTheEnd && !seen.whole {
            return Err(format!("the stream ended early: {}", events.text()));
        }
        self.leave(stream);
        Ok(Came::In)
    }

    async fn connect(&self, port: u16) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if !self.pause.is_zero() {
            socket.set_recv_buffer_size(SMALL_BUFFER)?;
        }
        socket.connect(([127, 0, 0, 1], port).into()).await
    }

    fn leave(&self, stream: TcpStream) {
        if self.reset {
            // As when a machine or a network goes away. Without it: as when a process ends.
            let _ = stream.set_zero_linger();
        }
        drop(stream);
    }

    fn request(&self) -> String {
        let body = json!({
            "messages": [
                { "role": "system", "content": "You answer the phone of a dental practice." },
                { "role": "user", "content": format!("Hello, this is caller {}.", self.number) },
            ],
            "stream": true,
            "max_tokens": TOKENS,
            "ignore_eos": true,
            "session_id": format!("session-{}", self.number % SESSIONS),
        })
        .to_string();
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// Where a try led to.
enum Came {
    In,
    ToNoRoom,
}

fn silence(within: Duration) -> String {
    format!("nothing came within {}", span::human(within))
}

/// What has come on a connection.
struct Reader {
    bytes: Vec<u8>,
    within: Duration,
}

impl Reader {
    /// The status, once the whole head has come.
    async fn status(&mut self, stream: &mut TcpStream) -> Result<u16, String> {
        while !self.has(b"\r\n\r\n") {
            if !self.more(stream).await? {
                return Err(format!("the connection ended before an answer: {}", self.text()));
            }
        }
        let status = self.bytes.get(9..12).and_then(|status| std::str::from_utf8(status).ok());
        status.and_then(|status| status.parse().ok()).ok_or_else(|| self.text())
    }

    /// Reads what has come. Whether there can be more.
    async fn more(&mut self, stream: &mut TcpStream) -> Result<bool, String> {
        let read = timeout(self.within, stream.read_buf(&mut self.bytes)).await;
        read.map_err(|_| format!("{}; before: {}", silence(self.within), self.text()))?
            .map(|read| read > 0)
            .map_err(|error| error.to_string())
    }

    /// How many events have come.
    fn count(&self) -> u32 {
        let found = self.bytes.windows(b"data: ".len()).filter(|bytes| bytes == b"data: ").count();
        u32::try_from(found).unwrap_or(u32::MAX)
    }

    fn done(&self) -> bool {
        self.has(b"data: [DONE]\n\n")
    }

    fn has(&self, what: &[u8]) -> bool {
        self.bytes.windows(what.len()).any(|bytes| bytes == what)
    }

    /// The end of it, to be shown.
    fn text(&self) -> String {
        const SHOWN: usize = 200;
        let tail = &self.bytes[self.bytes.len().saturating_sub(SHOWN)..];
        format!("{:?}", String::from_utf8_lossy(tail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_all() {
        let plan = |seed| (0..1000).map(|n| Visit::plan(seed, n, 10)).collect::<Vec<_>>();
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
        let visits = plan(7);
        let slow = visits.iter().filter(|visit| !visit.pause.is_zero()).count();
        assert!((50..150).contains(&slow), "{slow} of 1000 read slowly");
        let stay = visits.iter().filter(|visit| visit.leaves == Leaves::AtTheEnd).count();
        assert!((50..150).contains(&stay), "{stay} of 1000 stay");
    }

    #[test]
    fn events_are_counted() {
        let reader = |bytes: &[u8]| Reader { bytes: bytes.to_vec(), within: Duration::ZERO };
        let half = reader(b"HTTP/1.1 200 OK\r\n\r\ndata: {}\n\ndata: {}\n\n");
        assert_eq!((half.count(), half.done()), (2, false));
        assert!(reader(b"data: [DONE]\n\n").done());
    }
}
