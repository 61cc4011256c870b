//! Signals: the first asks for an orderly end, the second kills.

use std::time::Duration;

use dialtone_child::census;
use dialtone_contract::{ErrorCode, ExitCode};
use tokio::sync::watch;

use crate::event::{Bus, Event};
use crate::failure::Failure;

/// How long the orderly end may still take after everything was killed.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// What the user has asked for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<Option<Asked>>);

/// A signal that asks for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its name.
    pub signal: &'static str,
    /// What the run exits with for it.
    pub exit: ExitCode,
}

impl Asked {
    pub(crate) const INT: Self = Self { signal: "SIGINT", exit: ExitCode::Interrupted };
    #[cfg(unix)]
    const TERM: Self = Self { signal: "SIGTERM", exit: ExitCode::Terminated };
    #[cfg(unix)]
    const HUP: Self = Self { signal: "SIGHUP", exit: ExitCode::Terminated };

    /// The run ends for this.
    pub fn failure(self) -> Failure {
        Failure::new(ErrorCode::Interrupted, format!("interrupted by {}", self.signal))
            .exit(self.exit)
    }
}

impl Interrupt {
    /// Listens for signals from now on. The first one is told to everyone who waits; the second
    /// one kills every process that carries the tag of this run.
    pub fn listen(bus: Bus, run_id: String) -> Self {
        let (sender, receiver) = watch::channel(None);
        // Before the task is: a signal that comes now must find its handler.
        let mut signals = Signals::new();
        tokio::spawn(async move {
            let first = signals.next().await;
            // Before anything is said: whatever becomes of the words, the run shall end.
            sender.send_replace(Some(first));
            bus.emit(Event::Interrupting { signal: first.signal.to_owned() });
            signals.next().await;
            let _ = tokio::task::spawn_blocking(move || census::kill_all(&run_id)).await;
            // With its processes gone the orderly end has nothing to wait for; it still writes
            // the partial result. If even that hangs, nothing may hold the user back.
            tokio::select! {
                _ = signals.next() => {}
                () = tokio::time::sleep(LAST_WORDS) => {}
            }
            std::process::exit(i32::from(first.exit.code()));
        });
        Self(receiver)
    }

    /// An interrupt that never comes.
    pub fn never() -> Self {
        let (sender, receiver) = watch::channel(None);
        // Kept open for ever: a closed channel would read as an answer.
        std::mem::forget(sender);
        Self(receiver)
    }

    /// An interrupt that has come already.
    #[cfg(test)]
    pub(crate) fn come(asked: Asked) -> Self {
        let (sender, receiver) = watch::channel(Some(asked));
        std::mem::forget(sender);
        Self(receiver)
    }

    /// What was asked for so far.
    pub fn asked(&self) -> Option<Asked> {
        *self.0.borrow()
    }

    /// Waits for the first signal.
    pub async fn wait(&self) -> Asked {
        let mut receiver = self.0.clone();
        // Copied out at once: what the wait hands back is a lock.
        let asked = receiver.wait_for(Option::is_some).await.map(|asked| *asked);
        match asked {
            Ok(asked) => asked.unwrap_or(Asked::INT),
            // The listener ends only with the process.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(unix)]
struct Signals {
    int: Option<tokio::signal::unix::Signal>,
    term: Option<tokio::signal::unix::Signal>,
    hup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self {
            int: signal(SignalKind::interrupt()).ok(),
            term: signal(SignalKind::terminate()).ok(),
            hup: signal(SignalKind::hangup()).ok(),
        }
    }

    async fn next(&mut self) -> Asked {
        async fn one(signal: &mut Option<tokio::signal::unix::Signal>) {
            if let Some(signal) = signal
                && signal.recv().await.is_some()
            {
                return;
            }
            std::future::pending::<()>().await;
        }
        tokio::select! {
            () = one(&mut self.int) => Asked::INT,
            () = one(&mut self.term) => Asked::TERM,
            () = one(&mut self.hup) => Asked::HUP,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) -> Asked {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
        Asked::INT
    }
}
