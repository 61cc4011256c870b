use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use livekit_protocol as proto;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::job::Presence;
use crate::{JobContext, JobFailure, JobHandler};

/// A job that ended, for the worker's loop to report.
pub(crate) struct Ended {
    pub(crate) job_id: String,
    pub(crate) result: Result<(), JobFailure>,
}

struct Accepted {
    permit: OwnedSemaphorePermit,
    deadline: Instant,
}

struct Running {
    cancelled: CancellationToken,
    presence: Presence,
    abort: AbortHandle,
}

/// The jobs of one worker: accepted ones that wait for their assignment, and running
/// ones. Each holds a permit from the moment it is accepted; the permit goes back
/// when the assignment does not come, or when the job's task has ended in any way.
pub(crate) struct Jobs {
    max: usize,
    permits: Arc<Semaphore>,
    accepted: HashMap<String, Accepted>,
    running: HashMap<String, Running>,
    ended: mpsc::Sender<Ended>,
    termination_grace: Duration,
}

impl Jobs {
    pub(crate) fn new(max: usize, termination_grace: Duration) -> (Self, mpsc::Receiver<Ended>) {
        // One slot for each job that can run, so that no ended job waits for the loop.
        let (ended, receiver) = mpsc::channel(max);
        let jobs = Self {
            max,
            permits: Arc::new(Semaphore::new(max)),
            accepted: HashMap::new(),
            running: HashMap::new(),
            ended,
            termination_grace,
        };
        (jobs, receiver)
    }

    /// Permits in use.
    pub(crate) fn in_use(&self) -> usize {
        self.max - self.permits.available_permits()
    }

    /// Whether nothing is accepted or running.
    pub(crate) fn idle(&self) -> bool {
        self.accepted.is_empty() && self.running.is_empty()
    }

    /// Takes a permit for `job_id`, if there is one.
    pub(crate) fn accept(&mut self, job_id: &str, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        if let Some(accepted) = self.accepted.get_mut(job_id) {
            accepted.deadline = deadline;
            return true;
        }
        if self.running.contains_key(job_id) {
            return false;
        }
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return false };
        self.accepted.insert(job_id.to_owned(), Accepted { permit, deadline });
        true
    }

    /// When the next accepted job's assignment is overdue.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.accepted.values().map(|accepted| accepted.deadline).min()
    }

    /// Frees the places of jobs whose assignment did not come.
    pub(crate) fn expire(&mut self) {
        let now = Instant::now();
        self.accepted.retain(|job_id, accepted| {
            let waiting = accepted.deadline > now;
            if !waiting {
                tracing::warn!(job.id = %job_id, "no assignment came for an accepted job");
            }
            waiting
        });
    }

    /// Frees the places of all jobs that wait for an assignment: the connection that
    /// it would have come over is gone.
    pub(crate) fn forget_accepted(&mut self) {
        self.accepted.clear();
    }

    /// Starts an assigned job. `false` if it was not accepted, or its time was over.
    pub(crate) fn start<H: JobHandler>(&mut self, handler: &Arc<H>, job: JobContext) -> bool {
        let Some(Accepted { permit, .. }) = self.accepted.remove(&job.job_id) else {
            return false;
        };
        let job_id = job.job_id.clone();
        let cancelled = job.cancelled.clone();
        let presence = job.presence.clone();
        let handler = Arc::clone(handler);
        let task = tokio::spawn(async move { handler.run(job).await });
        let running =
            Running { cancelled: cancelled.clone(), presence, abort: task.abort_handle() };
        self.running.insert(job_id.clone(), running);
        let (abort, grace) = (task.abort_handle(), self.termination_grace);
        let ended = self.ended.clone();
        tokio::spawn(async move {
            let overdue = async {
                cancelled.cancelled().await;
                tokio::time::sleep(grace).await;
            };
            let mut task = task;
            let joined = tokio::select! {
                joined = &mut task => joined,
                () = overdue => {
                    abort.abort();
                    task.await
                }
            };
            drop(permit);
            let result = joined.unwrap_or_else(|error| {
                Err(JobFailure::new(if error.is_panic() {
                    "the job's handler panicked"
                } else {
                    "the job was aborted: it did not end in time"
                }))
            });
            // The worker's loop is gone only when nobody wants the report.
            let _ = ended.send(Ended { job_id, result }).await;
        });
        true
    }

    /// Cancels a job that the server terminates.
    pub(crate) fn terminate(&self, job_id: &str) {
        if let Some(running) = self.running.get(job_id) {
            if running.presence.has_left() {
                tracing::debug!(job.id = %job_id, "termination after the agent left by itself");
            } else {
                tracing::info!(job.id = %job_id, "job terminated by the server");
                running.cancelled.cancel();
            }
        }
    }

    /// Cancels every job.
    pub(crate) fn cancel_all(&self) {
        for running in self.running.values() {
            running.cancelled.cancel();
        }
    }

    /// Forgets an ended job and gives the report on it.
    pub(crate) fn close(&mut self, ended: Ended) -> proto::UpdateJobStatus {
        self.running.remove(&ended.job_id);
        let (status, error) = match ended.result {
            Ok(()) => (proto::JobStatus::JsSuccess, String::new()),
            Err(failure) => (proto::JobStatus::JsFailed, failure.to_string()),
        };
        proto::UpdateJobStatus { job_id: ended.job_id, status: status.into(), error }
    }

    /// The running jobs' ids, in order.
    pub(crate) fn running_ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.running.keys().cloned().collect();
        ids.sort_unstable();
        ids
    }
}

impl Drop for Jobs {
    /// A worker that was dropped must not leave jobs running behind it.
    fn drop(&mut self) {
        for running in self.running.values() {
            running.abort.abort();
        }
    }
}
