//! A LiveKit agent worker: the client half of LiveKit's worker protocol.
//!
//! A [`Worker`] registers with a LiveKit server at `/agent`, answers the jobs that it
//! is offered, runs each accepted one through a [`JobHandler`] and reports how it
//! ended. It registers again after a lost connection, and it drains when it is told
//! to shut down. The protocol is LiveKit's `livekit_agent.proto`, as served by
//! livekit-server's `pkg/service/agentservice.go`.
//!
//! ```no_run
//! use dialtone_agent_worker::{JobContext, JobHandler, JobResult, Worker, WorkerOptions};
//! use dialtone_auth::livekit::ApiKey;
//! use tokio_util::sync::CancellationToken;
//!
//! struct Greeter;
//!
//! impl JobHandler for Greeter {
//!     async fn run(&self, job: JobContext) -> JobResult {
//!         let session = job.join().await?;
//!         session.leave().await;
//!         Ok(())
//!     }
//! }
//!
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! let options = WorkerOptions::new("ws://127.0.0.1:7880", ApiKey::dev(), "greeter");
//! let worker = Worker::new(options)?;
//! worker.run(Greeter, CancellationToken::new()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`JobContext::join`] is presence on the signalling level only: no media flows. A
//! server must know that (Dialtone's does); a real LiveKit server never calls such a
//! participant active and removes it after a minute.
//!
//! Nothing here writes job metadata or tokens into a log.

mod error;
mod job;
mod jobs;
mod options;
mod room;
mod session;
mod socket;
mod worker;

pub use error::{JoinError, WorkerError};
pub use job::{JobContext, JobFailure, JobHandler, JobOffer, JobResult};
pub use options::{Load, Timings, WorkerOptions};
pub use room::{Closed, RoomSession};
pub use worker::{Registration, Worker};
