use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dialtone_contract::ExitCode;

/// What a signal must not leave behind. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Leftovers(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    folder: Option<PathBuf>,
    child: Option<Child>,
}

impl Leftovers {
    /// From now on SIGINT, SIGTERM and SIGHUP clean up and end this process; with `lifeline` the
    /// end of stdin does so too, which comes whatever becomes of the process that holds it.
    pub fn listen(lifeline: bool) -> Self {
        let leftovers = Self::default();
        if lifeline {
            let held = leftovers.clone();
            std::thread::spawn(move || {
                // Ended or broken: nobody is there any more either way.
                let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
                held.end(ExitCode::Terminated);
            });
        }
        let held = leftovers.clone();
        // Before the thread is: a signal that comes now must find its handler.
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return leftovers;
        };
        let signals = {
            let _inside = runtime.enter();
            Signals::new()
        };
        if let Ok(mut signals) = signals {
            std::thread::spawn(move || {
                held.end(runtime.block_on(signals.next()));
            });
        }
        leftovers
    }

    fn end(&self, code: ExitCode) -> ! {
        // Kept locked: nothing new may begin before the process has ended.
        let mut held = self.lock();
        held.clear();
        std::process::exit(code.code().into());
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A folder that is removed by [`clear`](Self::clear).
    pub fn folder(&self, folder: PathBuf) {
        self.lock().folder = Some(folder);
    }

    /// A process that is killed by [`clear`](Self::clear), with its group, which it leads.
    pub fn child(&self, child: Child) {
        self.lock().child = Some(child);
    }

    /// Looks at the process; `None` if there is none.
    pub fn with_child<T>(&self, look: impl FnOnce(&mut Child) -> T) -> Option<T> {
        self.lock().child.as_mut().map(look)
    }

    /// The process has ended.
    pub fn child_ended(&self) {
        self.lock().child = None;
    }

    /// Ends the process and removes the folder.
    pub fn clear(&self) {
        self.lock().clear();
    }
}

impl Held {
    fn clear(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Python may be a script that runs another one: all of its group.
            #[cfg(unix)]
            let _ = rustix::process::kill_process_group(
                rustix::process::Pid::from_child(&child),
                rustix::process::Signal::KILL,
            );
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(folder) = self.folder.take() {
            // If it stays, the next fetch removes it.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

#[cfg(unix)]
struct Signals {
    int: tokio::signal::unix::Signal,
    term: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> ExitCode {
        tokio::select! {
            _ = self.int.recv() => ExitCode::Interrupted,
            _ = self.term.recv() => ExitCode::Terminated,
            _ = self.hup.recv() => ExitCode::Terminated,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> ExitCode {
        let _ = tokio::signal::ctrl_c().await;
        ExitCode::Interrupted
    }
}
