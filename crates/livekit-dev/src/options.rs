use std::time::Duration;

use dialtone_auth::livekit::ApiKey;

/// Which server to be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The open-source server, faults included.
    #[default]
    Oss,
    /// A server that loses no dispatch.
    Queue,
}

/// What this server does beyond the open-source one. Each can be had alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// A dispatch with an agent name that finds no worker waits for one, so long.
    /// `None`: it is dropped for ever, as in livekit-server's `pkg/rtc/agentclient.go`.
    pub queue_dispatches: Option<Duration>,
    /// A worker that does not answer an offer in time is passed over for another one.
    /// `false`: the job is dropped (`ErrAvailabilityTimeout` is not retried there).
    pub retry_unanswered: bool,
    /// The jobs of a lost worker are dispatched again after this grace, marked as
    /// resuming, unless their dispatch says never. `None`: nobody hears of them again.
    pub redispatch_lost: Option<Duration>,
    /// `ListDispatch` shows how jobs ended. `false`: they stay `JS_RUNNING` there.
    pub track_job_states: bool,
    /// A worker that comes back keeps its running jobs (`migrate_job`). `false`: ignored.
    pub adopt_migrated: bool,
    /// Webhooks `agent_job_started` and `agent_job_ended`, which LiveKit's protocol
    /// names and the open-source server never sends.
    pub job_webhooks: bool,
}

impl Features {
    /// The features of `mode`.
    pub fn of(mode: Mode) -> Self {
        match mode {
            Mode::Oss => Self {
                queue_dispatches: None,
                retry_unanswered: false,
                redispatch_lost: None,
                track_job_states: false,
                adopt_migrated: false,
                job_webhooks: false,
            },
            Mode::Queue => Self {
                queue_dispatches: Some(Duration::from_secs(60)),
                retry_unanswered: true,
                // LiveKit's own workers come back after two seconds, and say three
                // seconds later which jobs they still run.
                redispatch_lost: Some(Duration::from_secs(8)),
                track_job_states: true,
                adopt_migrated: true,
                job_webhooks: true,
            },
        }
    }
}

/// The protocol's durations, with livekit-server's values as defaults. Tests shorten
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timings {
    /// From a worker's upgrade until its register message.
    pub register: Duration,
    /// From an offer until its answer.
    pub availability: Duration,
    /// Between two looks for empty rooms and participants that never became active.
    pub sweep: Duration,
    /// What one second of a room's `empty_timeout` and `departure_timeout` takes.
    pub room_second: Duration,
    /// From a join until the participant is removed, if it never becomes active.
    pub join: Duration,
    /// From a job's termination until its participant is removed.
    pub removal: Duration,
    /// Between two WebSocket pings to a worker; three without a sign of life end it.
    pub worker_ping: Duration,
    /// A participant that sends nothing for so long is gone.
    pub signal_silence: Duration,
    /// A webhook that could not be delivered for so long is dropped.
    pub webhook_age: Duration,
    /// Pause before a webhook's first retry; doubles.
    pub webhook_backoff: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            register: Duration::from_secs(10),
            availability: Duration::from_secs(10),
            sweep: Duration::from_secs(1),
            room_second: Duration::from_secs(1),
            join: Duration::from_secs(60),
            removal: Duration::from_secs(3),
            worker_ping: Duration::from_secs(10),
            signal_silence: Duration::from_secs(45),
            webhook_age: Duration::from_secs(30),
            webhook_backoff: Duration::from_millis(200),
        }
    }
}

/// How the server is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Keys whose tokens are believed; at least one.
    pub keys: Vec<ApiKey>,
    /// What the server does beyond the open-source one.
    pub features: Features,
    /// Where events are posted, `http://..` only.
    pub webhooks: Vec<String>,
    /// Name of the key that signs webhooks; the first one by default.
    pub webhook_key: Option<String>,
    /// Seeds ids and the choice among workers.
    pub seed: u64,
    /// The address that assignments tell workers to join rooms on. By default they
    /// tell none, and workers use the address that they registered on.
    pub advertise_url: Option<String>,
    /// Whether `GET /dev/workers` answers. It knows no tokens, so use it on loopback
    /// listeners only.
    pub introspection: bool,
    /// The protocol's durations.
    pub timings: Timings,
}

impl Options {
    /// Options for `keys` in `mode`.
    pub fn new(keys: Vec<ApiKey>, mode: Mode) -> Self {
        Self {
            keys,
            features: Features::of(mode),
            webhooks: Vec::new(),
            webhook_key: None,
            seed: 0,
            advertise_url: None,
            introspection: false,
            timings: Timings::default(),
        }
    }

    pub(crate) fn signing_key(&self) -> Result<ApiKey, OptionsError> {
        match &self.webhook_key {
            None => self.keys.first().cloned().ok_or(OptionsError::NoKeys),
            Some(name) => self
                .keys
                .iter()
                .find(|key| key.key == *name)
                .cloned()
                .ok_or_else(|| OptionsError::WebhookKey(name.clone())),
        }
    }
}

/// Options that a server cannot start with.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// No API key.
    #[error("at least one API key is needed")]
    NoKeys,
    /// The webhook key is not among the keys.
    #[error("webhook key `{0}` is not among the API keys")]
    WebhookKey(String),
    /// A webhook address that cannot be posted to.
    #[error("webhook address `{0}` is unusable: expected http://host:port/path")]
    WebhookUrl(String),
}
