use std::time::Duration;

use dialtone_contract::limits::BODY_MAX;

/// What one server allows its clients. All durations are wall time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the first wait for a request to the end of its head. It also ends idle
    /// keep-alive connections and connections that never send a byte.
    pub header: Duration,
    /// The longest wait for the next bytes of a body; and, with one second more for each
    /// MiB received, the longest of all waits together. A late body is answered 408.
    pub body: Duration,
    /// From the end of the head to the head of the response, reading the body included;
    /// answered 503. Neither an upgraded connection nor a response that already streams
    /// is bound by it. The handler is dropped where it waits, as it is when the client
    /// goes away: what must not stop halfway belongs in a task of its own. A handler that
    /// needs longer says so to its [`crate::Patience`].
    pub request: Duration,
    /// For how long a client may take no byte of what is being sent to it.
    pub write: Duration,
    /// How long open connections may finish after the shutdown; then they are cut.
    pub drain: Duration,
    /// Open connections, upgraded ones included. Those beyond wait in the kernel's
    /// backlog: a short burst is then served late instead of failing.
    pub connections: usize,
    /// Body of a request in bytes, where a route has no [`crate::problem::body_limit`]
    /// of its own.
    pub body_bytes: usize,
    /// Headers of a request; more are answered 431.
    pub headers: usize,
    /// Host names served on a loopback address besides `localhost`, `127.0.0.1` and
    /// `[::1]`, without a port. Any other `Host` is refused there, because a web page
    /// can point its own name at the loopback address (DNS rebinding).
    pub hosts: Vec<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(5),
            body: Duration::from_secs(4),
            request: Duration::from_secs(30),
            write: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            connections: 1024,
            body_bytes: BODY_MAX,
            headers: 100,
            hosts: Vec::new(),
        }
    }
}
