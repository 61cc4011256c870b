//! The scenarios that a command plays through.

mod agreement;
pub mod batch;
mod cancel;
pub mod dev;
mod figures;
mod follow;
mod judge;
mod recovery;
mod scripts;
pub mod soak;
mod stack_of;
mod strike;
mod verdict;
mod verify;
mod watch;
pub mod worker;

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dialtone_contract::ErrorCode;

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::run::Run;
use crate::span;

pub use judge::Band;
pub use stack_of::DEV_KEYS;

/// Where the processes of the stack are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// Holds children.
    pub supervise: PathBuf,
    /// The platform.
    pub dialtone: PathBuf,
    /// The LiveKit-compatible server.
    pub livekit_dev: PathBuf,
    /// The worker that simulates callees.
    pub test_worker: PathBuf,
}

/// The LiveKit that a run talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveKit {
    /// `livekit-dev`, started for the run.
    Simulated,
    /// One that is there already.
    External {
        /// Its URL.
        url: String,
        /// API key.
        key: String,
        /// API secret.
        secret: String,
    },
}

/// What ends a run from outside: signals and the clock.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Signals.
    pub interrupt: Interrupt,
    /// How long the run may take, from its first process on.
    pub deadline: Option<Duration>,
}

/// What a run is waiting for, in words, for the message of the deadline.
#[derive(Clone, Debug, Default)]
struct Step(Arc<Mutex<String>>);

impl Step {
    fn set(&self, text: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
    }

    fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Limits that run since now.
struct Guard {
    limits: Limits,
    began: tokio::time::Instant,
    step: Step,
}

impl Guard {
    fn new(limits: Limits) -> Self {
        Self { limits, began: tokio::time::Instant::now(), step: Step::default() }
    }

    /// Lets `work` run until it is done or something ends it from outside.
    async fn watch<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let late = async {
            match self.limits.deadline {
                Some(deadline) => tokio::time::sleep_until(self.began + deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // What is done is done, even in the same moment.
            biased;
            done = work => done,
            asked = self.limits.interrupt.wait() => Err(asked.failure()),
            () = late => Err(self.too_late()),
        }
    }

    /// Tells a signal that came when nothing waited for one any more: while the stack was taken
    /// down, or after everything was judged.
    fn last_signal(&self, run: &Run) {
        if let Some(asked) = self.limits.interrupt.asked() {
            run.error_once(&asked.failure());
        }
    }

    fn too_late(&self) -> Failure {
        let deadline = span::human(self.limits.deadline.unwrap_or_default());
        let message = format!("the run did not end within {deadline}; it was {}", self.step.get());
        Failure::new(ErrorCode::RunDeadline, message)
    }
}

#[cfg(test)]
mod tests {
    use dialtone_contract::ExitCode;

    use super::*;
    use crate::event::Bus;
    use crate::interrupt::Asked;
    use crate::run::Identity;
    use crate::run_dir::RunDir;

    #[test]
    fn a_signal_that_came_last_still_decides() {
        let base = tempfile::tempdir().expect("a folder");
        let identity = Identity {
            command: "batch:test",
            run_id: "7f3a".into(),
            seed: 1,
            again: String::new(),
        };
        let dir = RunDir::create(base.path(), "7f3a").expect("a run folder");
        let run = Run::new(identity, Bus::new(), dir, ["counts"]);
        run.pass("counts", Duration::ZERO, "");
        let quiet = Guard::new(Limits { interrupt: Interrupt::never(), deadline: None });
        quiet.last_signal(&run);
        assert_eq!(run.exit(), ExitCode::Passed);
        run.error(Failure::new(ErrorCode::NoWorker, "none"));
        let interrupt = Interrupt::come(Asked::INT);
        let guard = Guard::new(Limits { interrupt, deadline: None });
        guard.last_signal(&run);
        guard.last_signal(&run);
        let envelope = run.finish();
        assert_eq!(envelope.exit_code, 130);
        assert_eq!(envelope.error.map(|error| error.code), Some(ErrorCode::Interrupted));
    }

    #[tokio::test]
    async fn a_deadline_says_what_was_waited_for() {
        let limits =
            Limits { interrupt: Interrupt::never(), deadline: Some(Duration::from_millis(20)) };
        let guard = Guard::new(limits);
        guard.step.set("following batch bat_1");
        assert_eq!(guard.watch(async { Ok(7) }).await, Ok(7));
        let failure = guard.watch(std::future::pending::<Result<(), _>>()).await;
        let failure = failure.expect_err("too late");
        assert_eq!(failure.exit.code(), 124);
        assert_eq!(
            failure.message,
            "the run did not end within 20 ms; it was following batch bat_1"
        );
    }
}
