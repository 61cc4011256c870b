//! A running child.

use std::io::{PipeWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::census::{self, Leftover};
use crate::protocol::Command;
use crate::{CHILD_ENV, ChildError, Exit, Signal, Spec, Supervisor, log};

/// What is known about a child. Every waiter sees the same, in any order and at any time.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// How the program ended, once it has.
    pub exit: Option<Exit>,
    /// Whether the program and all its descendants are gone.
    pub gone: bool,
    /// Descendants that could not be killed.
    pub leftovers: Vec<u32>,
}

/// A child held by its supervisor.
///
/// Dropping it ends the child and everything below it, without waiting: TERM, at most 1 s, KILL.
/// [`Child::stop`] is the normal end.
#[derive(Debug)]
pub struct Child {
    pub(crate) spec: Spec,
    pub(crate) supervisor: Supervisor,
    pub(crate) supervisor_pid: u32,
    pub(crate) pid: u32,
    /// What the supervisor and everything below it carry.
    pub(crate) tag: String,
    pub(crate) log_path: PathBuf,
    /// While this end is open the child may live.
    pub(crate) lifeline: Mutex<PipeWriter>,
    pub(crate) state: watch::Receiver<State>,
}

impl Child {
    /// The name used in messages.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Process id of the program.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Process id of its supervisor.
    pub fn supervisor_pid(&self) -> u32 {
        self.supervisor_pid
    }

    /// Where its output goes; the null device where the spec names no log.
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// What it was started from.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The last lines of its output.
    pub fn log_tail(&self, lines: usize) -> String {
        log::tail(&self.log_path, lines)
    }

    /// Waits for the end of the program itself; its descendants may still be ending. Any number of
    /// tasks may wait, before or after the end, and a dropped wait loses nothing.
    pub async fn wait(&self) -> Exit {
        self.until(|state| state.exit.is_some()).await
    }

    /// Waits until the program and everything below it are gone.
    pub async fn wait_gone(&self) -> Exit {
        self.until(|state| state.gone).await
    }

    /// How the program ended, if it has.
    pub fn try_exit(&self) -> Option<Exit> {
        self.state.borrow().exit
    }

    /// Whether the program and everything below it are gone.
    pub fn is_gone(&self) -> bool {
        self.state.borrow().gone
    }

    /// Descendants that the supervisor could not kill, such as those of another user.
    pub fn leftovers(&self) -> Vec<u32> {
        self.state.borrow().leftovers.clone()
    }

    /// TERM to the child's group, the grace of the spec, KILL for all that is left; returns when
    /// everything is gone. Calling it again, or after the end, is fine. When the returned future is
    /// dropped the stop still goes on.
    pub async fn stop(&self) -> Exit {
        self.tell(Command::Stop);
        self.wait_gone().await
    }

    /// KILL for the child and all its descendants; returns when everything is gone.
    pub async fn kill(&self) -> Exit {
        self.tell(Command::Kill);
        self.wait_gone().await
    }

    /// KILL for the supervisor and everything that carries this child's tag, past the supervisor:
    /// for one that does not answer any more. Returns what was killed, where the system can tell.
    pub async fn sweep(&self) -> Vec<Leftover> {
        let tag = self.tag.clone();
        let killed = move || census::kill_carrying(CHILD_ENV, &tag);
        tokio::task::spawn_blocking(killed).await.unwrap_or_default()
    }

    /// Sends a signal to the program itself, not to its descendants.
    pub fn signal(&self, signal: Signal) -> Result<(), ChildError> {
        // The supervisor delivers it: only the process that waits for a child can know that the
        // process id still means that child.
        if self.try_exit().is_some() || !self.tell(Command::Signal(signal)) {
            return Err(ChildError::Ended { name: self.spec.name.clone(), signal });
        }
        Ok(())
    }

    /// Stops what is left of this child and starts the same spec again, on the same listeners and
    /// the same log.
    pub async fn respawn(&self) -> Result<Self, ChildError> {
        self.stop().await;
        self.supervisor.start(self.spec.clone()).await
    }

    /// Says whether the supervisor was there to be told.
    fn tell(&self, command: Command) -> bool {
        let mut lifeline = self.lifeline.lock().unwrap_or_else(PoisonError::into_inner);
        // One write, so that two commands never mix.
        lifeline.write_all(format!("{command}\n").as_bytes()).is_ok()
    }

    async fn until(&self, done: impl FnMut(&State) -> bool) -> Exit {
        let mut state = self.state.clone();
        // The sender goes away early only when its runtime is being shut down. The supervisor ends
        // the child all the same, but nobody is left to report how.
        let _ = state.wait_for(done).await;
        self.try_exit().unwrap_or(Exit::UNSEEN)
    }
}

impl Drop for Child {
    /// Closing the lifeline, which the fields do by themselves, is all that is needed. Nothing here
    /// waits, so a drop during a panic or on a runtime thread cannot hang.
    fn drop(&mut self) {
        if self.try_exit().is_none() {
            tracing::debug!(
                child.name = %self.spec.name,
                child.pid = self.pid,
                "child dropped while running, its supervisor ends it"
            );
        }
    }
}
