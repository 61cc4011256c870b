use std::sync::Arc;
use std::time::Duration;

use dialtone_clock::{Rng, rng_for};
use livekit_protocol as proto;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::jobs::{Ended, Jobs};
use crate::session::{End, Session};
use crate::socket::{ConnectError, websocket_url};
use crate::{JobHandler, WorkerError, WorkerOptions};

/// Where a worker stands with its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Not registered: starting, or connecting again.
    Connecting,
    /// Registered, and offered jobs while it has room for them.
    Registered {
        /// The id that the server gave it, `AW_..`.
        worker_id: String,
    },
    /// Told to shut down: takes no more jobs, finishes those that it has.
    Draining,
    /// At its end.
    Stopped,
}

/// A LiveKit agent worker.
#[derive(Debug)]
pub struct Worker {
    options: WorkerOptions,
    registration: watch::Sender<Registration>,
}

/// What one worker keeps over all its connections.
pub(crate) struct Life {
    pub(crate) options: WorkerOptions,
    pub(crate) registration: watch::Sender<Registration>,
    pub(crate) jobs: Jobs,
    pub(crate) ended: mpsc::Receiver<Ended>,
    /// Reports on jobs that ended while there was no connection.
    pub(crate) unsent: Vec<proto::UpdateJobStatus>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) drain: Drain,
}

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    No,
    /// Jobs are cancelled at the given time, if any.
    Until(Option<Instant>),
    /// Jobs have been cancelled.
    Cancelled,
}

impl Life {
    /// Begins the drain, once.
    pub(crate) fn begin_drain(&mut self) {
        if self.drain == Drain::No {
            tracing::info!(jobs = self.jobs.in_use(), "worker drains");
            self.drain = Drain::Until(self.options.drain_timeout.map(|t| Instant::now() + t));
            self.registration.send_replace(Registration::Draining);
        }
    }

    /// Whether there is nothing left to do.
    pub(crate) fn drained(&self) -> bool {
        self.drain != Drain::No && self.jobs.idle()
    }

    /// Cancels what a drain has waited for long enough.
    pub(crate) fn give_up_jobs(&mut self) {
        tracing::warn!(jobs = self.jobs.in_use(), "drain ran out of time: jobs are cancelled");
        self.drain = Drain::Cancelled;
        self.jobs.cancel_all();
    }
}

/// Waits until `at`, for ever where there is no time.
pub(crate) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Worker {
    /// A worker that has not connected yet.
    ///
    /// # Errors
    /// If an option cannot be worked with.
    pub fn new(options: WorkerOptions) -> Result<Self, WorkerError> {
        websocket_url(&options.url).map_err(|error| WorkerError::Options {
            name: "url",
            reason: format!("`{}`: {error}", options.url),
        })?;
        if options.max_jobs == 0 || options.max_jobs > 100_000 {
            return Err(WorkerError::Options {
                name: "max_jobs",
                reason: format!("{} is not within 1 to 100000", options.max_jobs),
            });
        }
        Ok(Self { options, registration: watch::Sender::new(Registration::Connecting) })
    }

    /// Follows where the worker stands with its server.
    pub fn registration(&self) -> watch::Receiver<Registration> {
        self.registration.subscribe()
    }

    /// Works until `shutdown` fires and the jobs at hand are done.
    ///
    /// # Errors
    /// If the server refuses the worker, or cannot be reached for longer than the
    /// options allow. Running jobs have been cancelled then.
    pub async fn run<H: JobHandler>(
        self,
        handler: H,
        shutdown: CancellationToken,
    ) -> Result<(), WorkerError> {
        let (jobs, ended) =
            Jobs::new(self.options.max_jobs, self.options.timings.termination_grace);
        let mut rng = rng_for(self.options.seed, &[b"agent-worker", b"backoff"]);
        let mut life = Life {
            options: self.options,
            registration: self.registration,
            jobs,
            ended,
            unsent: Vec::new(),
            shutdown,
            drain: Drain::No,
        };
        let result = work(&mut life, &Arc::new(handler), &mut rng).await;
        if result.is_err() {
            life.jobs.cancel_all();
        }
        life.registration.send_replace(Registration::Stopped);
        result
    }
}

async fn work<H: JobHandler>(
    life: &mut Life,
    handler: &Arc<H>,
    rng: &mut Rng,
) -> Result<(), WorkerError> {
    // Failures to register in a row, and how often the pause has doubled. The pause
    // grows also where a server registers the worker and lets it go at once.
    let (mut failures, mut doublings) = (0, 0);
    loop {
        let opened = tokio::select! {
            opened = Session::open(&life.options) => opened,
            () = life.shutdown.cancelled(), if life.jobs.idle() => return Ok(()),
        };
        match opened {
            Ok(session) => {
                failures = 0;
                let since = Instant::now();
                match session.run(life, handler).await {
                    End::Drained => return Ok(()),
                    End::Lost(reason) => tracing::warn!(%reason, "connection to LiveKit lost"),
                }
                doublings = if since.elapsed() >= life.options.timings.backoff_reset {
                    0
                } else {
                    doublings + 1
                };
                life.jobs.forget_accepted();
                if life.drain == Drain::No {
                    life.registration.send_replace(Registration::Connecting);
                }
            }
            Err(error) => {
                failures += 1;
                doublings += 1;
                give_up(&life.options, failures, &error)?;
                tracing::warn!(%error, failures, "failed to register with LiveKit");
            }
        }
        let pause = backoff(&life.options, doublings, rng);
        if rest(life, pause).await {
            return Ok(());
        }
    }
}

/// Whether this failure to register is the last one.
fn give_up(
    options: &WorkerOptions,
    failures: u32,
    error: &ConnectError,
) -> Result<(), WorkerError> {
    let url = options.url.clone();
    match error {
        ConnectError::Refused(401 | 403) => Err(WorkerError::Unauthorized { url }),
        ConnectError::Refused(status) if *status < 500 => {
            Err(WorkerError::NotLiveKit { url, status: *status })
        }
        ConnectError::Url(reason) => {
            Err(WorkerError::Options { name: "url", reason: reason.clone() })
        }
        other if failures > options.max_retries => {
            Err(WorkerError::Unreachable { url, attempts: failures, last: other.to_string() })
        }
        _ => Ok(()),
    }
}

/// The pause before the next connection: doubling, half of it by chance, so that the
/// workers of a restarted server do not come back all at once.
fn backoff(options: &WorkerOptions, doublings: u32, rng: &mut Rng) -> Duration {
    use rand::RngExt as _;
    let timings = &options.timings;
    let doubled = timings.backoff_first.saturating_mul(1 << doublings.min(16));
    doubled.min(timings.backoff_max).mul_f64(rng.random_range(0.5..1.0))
}

/// Rests between two connections. `true` if the worker is at its end.
async fn rest(life: &mut Life, pause: Duration) -> bool {
    let wake = Instant::now() + pause;
    loop {
        if life.drained() {
            return true;
        }
        let drain_end = match life.drain {
            Drain::Until(at) => at,
            _ => None,
        };
        let shutdown = life.shutdown.clone();
        tokio::select! {
            () = tokio::time::sleep_until(wake) => return false,
            Some(ended) = life.ended.recv() => {
                let report = life.jobs.close(ended);
                life.unsent.push(report);
            }
            () = shutdown.cancelled(), if life.drain == Drain::No => life.begin_drain(),
            () = until(drain_end) => life.give_up_jobs(),
        }
    }
}
