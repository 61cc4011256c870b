use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dialtone_auth::Secret;
use tokio_util::sync::CancellationToken;

use crate::{JoinError, RoomSession};

/// How a job ended: `Ok` is reported as `JS_SUCCESS`, `Err` as `JS_FAILED`.
pub type JobResult = Result<(), JobFailure>;

/// Why a job failed. The text goes to the server: no metadata, no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JobFailure(String);

impl JobFailure {
    /// A failure with its reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl From<JoinError> for JobFailure {
    fn from(error: JoinError) -> Self {
        Self(error.to_string())
    }
}

/// A job that the server offers, before anybody has taken it.
#[derive(Clone, Copy)]
pub struct JobOffer<'a> {
    /// The job, `AJ_..`.
    pub job_id: &'a str,
    /// The dispatch that caused it, `AD_..`.
    pub dispatch_id: &'a str,
    /// The room.
    pub room: &'a str,
    /// What the dispatcher sent along. May hold secrets: never log it.
    pub metadata: &'a str,
}

impl fmt::Debug for JobOffer<'_> {
    /// Leaves out the metadata.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobOffer")
            .field("job_id", &self.job_id)
            .field("dispatch_id", &self.dispatch_id)
            .field("room", &self.room)
            .finish_non_exhaustive()
    }
}

/// What a worker does with a job.
pub trait JobHandler: Send + Sync + 'static {
    /// Whether this job is wanted. Asked for every offer before it is answered, while the
    /// connection waits: answers at once. A job that is not wanted is offered to another
    /// worker, or lost where there is none.
    fn wants(&self, offer: JobOffer<'_>) -> bool {
        let _ = offer;
        true
    }

    /// Runs one job to its end. Returns soon after `job.cancelled` fires; a handler
    /// that does not is aborted after `Timings::termination_grace`.
    fn run(&self, job: JobContext) -> impl Future<Output = JobResult> + Send;
}

impl<H: JobHandler> JobHandler for Arc<H> {
    fn wants(&self, offer: JobOffer<'_>) -> bool {
        H::wants(self, offer)
    }

    fn run(&self, job: JobContext) -> impl Future<Output = JobResult> + Send {
        H::run(self, job)
    }
}

/// Which side ended a job's presence in its room.
///
/// A server answers an agent that leaves its room with the termination of its job
/// (livekit-server, `rtc/room.go`). Where the handler left by itself that says
/// nothing new and must not cancel what the handler still has to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence(Arc<AtomicBool>);

impl Presence {
    pub(crate) fn left_by_itself(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn has_left(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// One assigned job.
#[derive(Clone)]
pub struct JobContext {
    /// The job, `AJ_..`.
    pub job_id: String,
    /// The dispatch that caused it, `AD_..`.
    pub dispatch_id: String,
    /// The room to join.
    pub room: String,
    /// What the dispatcher sent along. May hold secrets: never log it.
    pub metadata: String,
    /// The agent name that was asked for.
    pub agent_name: String,
    /// The server to join the room on.
    pub url: String,
    /// Lets the agent into the room, once.
    pub token: Secret,
    /// Fires when the server terminates the job, or when a drain runs out of time.
    /// A termination after the handler itself left the room does not fire it.
    pub cancelled: CancellationToken,
    pub(crate) presence: Presence,
    pub(crate) connect_timeout: Duration,
}

impl JobContext {
    /// Enters the job's room: presence on the signalling level only, without media.
    ///
    /// # Errors
    /// If the server does not let the agent in, in time.
    pub async fn join(&self) -> Result<RoomSession, JoinError> {
        RoomSession::join(&self.url, &self.token, self.presence.clone(), self.connect_timeout).await
    }
}

impl fmt::Debug for JobContext {
    /// Leaves out metadata and token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobContext")
            .field("job_id", &self.job_id)
            .field("dispatch_id", &self.dispatch_id)
            .field("room", &self.room)
            .field("agent_name", &self.agent_name)
            .finish_non_exhaustive()
    }
}
