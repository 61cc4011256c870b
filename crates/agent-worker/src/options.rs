use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dialtone_auth::livekit::ApiKey;

/// How a worker reports its load, 0 (idle) to 1 (full).
#[derive(Clone, Default)]
pub enum Load {
    /// Jobs in use over jobs allowed.
    #[default]
    InUse,
    /// Always the same.
    Fixed(f32),
    /// Computed from (jobs in use, jobs allowed).
    Of(Arc<dyn Fn(usize, usize) -> f32 + Send + Sync>),
}

impl Load {
    /// The load with `in_use` of `max` jobs.
    pub(crate) fn at(&self, in_use: usize, max: usize) -> f32 {
        let load = match self {
            #[expect(clippy::cast_precision_loss, reason = "job counts are small")]
            Self::InUse => in_use as f32 / max.max(1) as f32,
            Self::Fixed(load) => *load,
            Self::Of(load) => load(in_use, max),
        };
        if load.is_finite() { load.clamp(0.0, 1.0) } else { 1.0 }
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => f.write_str("InUse"),
            Self::Fixed(load) => write!(f, "Fixed({load})"),
            Self::Of(_) => f.write_str("Of(..)"),
        }
    }
}

/// The protocol's durations. All are wall time; the defaults are those of LiveKit's
/// own workers, so change them in tests only.
#[derive(Clone, Debug)]
pub struct Timings {
    /// Connecting, and waiting for the register response.
    pub connect_timeout: Duration,
    /// Between two reports of status and load.
    pub status_interval: Duration,
    /// From accepting a job until its assignment; after it the job's place is free again.
    pub assignment_timeout: Duration,
    /// Between two WebSocket pings.
    pub ping_interval: Duration,
    /// A server that says nothing (not even a ping or a pong) for so long is lost.
    pub silence_timeout: Duration,
    /// From a job's termination until its task is aborted.
    pub termination_grace: Duration,
    /// First pause before connecting again; doubles up to `backoff_max`, jittered.
    pub backoff_first: Duration,
    /// Longest pause before connecting again.
    pub backoff_max: Duration,
    /// A connection that was registered for so long begins the pauses anew; one that
    /// was lost earlier makes the next pause longer, like one that failed.
    pub backoff_reset: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            status_interval: Duration::from_millis(2500),
            assignment_timeout: Duration::from_millis(7500),
            ping_interval: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(35),
            termination_grace: Duration::from_secs(15),
            backoff_first: Duration::from_millis(250),
            backoff_max: Duration::from_secs(10),
            backoff_reset: Duration::from_secs(10),
        }
    }
}

/// What a worker is and where it registers.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// The LiveKit server, `ws://host:port` (`http://` is read the same). Connections
    /// are plain: put a TLS proxy in front where the server is not on this machine.
    pub url: String,
    /// Signs the worker's own token.
    pub key: ApiKey,
    /// The name that dispatches ask for. Without a name the worker is offered every
    /// new room.
    pub agent_name: String,
    /// Jobs that may run at once.
    pub max_jobs: usize,
    /// How load is reported.
    pub load: Load,
    /// How long running jobs may go on after shutdown began, before they are
    /// cancelled. `None` waits for as long as they take.
    pub drain_timeout: Option<Duration>,
    /// Failed connections in a row before the worker gives up (LiveKit's own workers
    /// give up after 16).
    pub max_retries: u32,
    /// Seeds the jitter of the reconnect pauses.
    pub seed: u64,
    /// The protocol's durations.
    pub timings: Timings,
}

impl WorkerOptions {
    /// Options with LiveKit's defaults and room for one job at a time.
    pub fn new(url: impl Into<String>, key: ApiKey, agent_name: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            key,
            agent_name: agent_name.into(),
            max_jobs: 1,
            load: Load::default(),
            drain_timeout: None,
            max_retries: 16,
            seed: 0,
            timings: Timings::default(),
        }
    }
}
