//! One process of a running stack: its life, its death, and its return on the same port.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dialtone_child::process::{self, Process};
use dialtone_child::{Child, Exit, Signal};
use dialtone_contract::ErrorCode;
use tokio::sync::watch;

use crate::envelope::millis;
use crate::event::{Bus, Event};
use crate::failure::Failure;

/// Lines of log that a death carries as evidence.
const LAST_LINES: usize = 20;
/// How long the log of a dead process may take to be whole.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Number of the signal that cannot be caught.
pub(super) const KILL: i32 = 9;

/// One process of a running stack. Cheap to clone: all clones see the same process, also after it
/// was killed on purpose and started again.
#[derive(Clone, Debug)]
pub struct Member {
    /// The service.
    pub name: String,
    /// Base URL of its HTTP surface.
    pub url: String,
    /// What it must show as its own.
    pub(super) nonce: String,
    pub(super) port: u16,
    life: Arc<watch::Sender<Life>>,
}

/// The process that the service is now.
#[derive(Clone, Debug)]
struct Life {
    child: Arc<Child>,
    started: Instant,
    /// It is killed on purpose, or was; its end is no failure.
    struck: bool,
}

/// When a process was killed on purpose.
#[derive(Clone, Copy, Debug)]
pub struct Struck {
    /// Before the signal left.
    pub sent: Instant,
    /// When its end was known.
    pub dead: Instant,
}

impl Member {
    /// The service, as the process that runs it now.
    pub(super) fn new(
        name: String,
        url: String,
        nonce: String,
        port: u16,
        child: Child,
        started: Instant,
    ) -> Self {
        let life = Life { child: Arc::new(child), started, struck: false };
        Self { name, url, nonce, port, life: Arc::new(watch::Sender::new(life)) }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child().pid()
    }

    /// What it must show as its own.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it was killed on purpose and is not started again yet.
    pub fn is_struck(&self) -> bool {
        self.life.borrow().struck
    }

    /// The processes that it has started and that still run. Empty where the system does not tell.
    pub fn offspring(&self) -> Vec<Process> {
        let below = process::descendants(self.child().supervisor_pid()).into_iter();
        below.filter(|process| process.pid != self.pid() && !process.zombie).collect()
    }

    /// The end of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        self.child().log_tail(lines)
    }

    pub(super) fn child(&self) -> Arc<Child> {
        self.life.borrow().child.clone()
    }

    pub(super) fn started(&self) -> Instant {
        self.life.borrow().started
    }

    /// Waits for an end that nobody wanted, and tells it.
    pub(super) async fn death(&self, bus: &Bus) -> Failure {
        let mut life = self.life.subscribe();
        loop {
            let Life { child, struck, .. } = life.borrow_and_update().clone();
            let ended =
                async { if struck { std::future::pending().await } else { child.wait().await } };
            tokio::select! {
                exit = ended => {
                    // Whoever kills it on purpose says so before the signal leaves.
                    if !self.life.borrow().struck {
                        return self.obituary(&child, exit, bus).await;
                    }
                }
                changed = life.changed() => {
                    if changed.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    }

    async fn obituary(&self, child: &Child, exit: Exit, bus: &Bus) -> Failure {
        let lived = self.started().elapsed();
        let _ = tokio::time::timeout(LAST_WORDS, child.wait_gone()).await;
        let pid = child.pid();
        let name = &self.name;
        bus.emit(Event::ServiceExited { name: name.clone(), pid, exit: exit.to_string() });
        let lived = crate::span::human(lived);
        let message = format!("{name} (pid {pid}) ended with {exit}, {lived} after its start");
        let tail = child.log_tail(LAST_LINES);
        let lines: Vec<&str> = tail.lines().collect();
        let evidence = if lines.is_empty() { vec!["(its log is empty)"] } else { lines };
        Failure::new(ErrorCode::ChildExited, message).evidence(evidence)
    }

    /// SIGKILL, on purpose: whoever waits for its death does not hear of this one.
    ///
    /// # Errors
    /// If it had ended by itself.
    pub async fn strike(&self, bus: &Bus) -> Result<Struck, Failure> {
        let child = self.child();
        self.life.send_modify(|life| life.struck = true);
        let sent = Instant::now();
        // A refused signal means that it has ended already, which its exit then shows.
        let _ = child.signal(Signal::Kill);
        let exit = child.wait().await;
        let dead = Instant::now();
        if exit.signal != Some(KILL) {
            self.life.send_modify(|life| life.struck = false);
            return Err(self.obituary(&child, exit, bus).await);
        }
        bus.emit(Event::ServiceKilled { name: self.name.clone(), pid: child.pid() });
        Ok(Struck { sent, dead })
    }

    /// Starts what was killed again: the same command on the same listener and the same log.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn revive(&self, bus: &Bus) -> Result<(), Failure> {
        let began = Instant::now();
        let child =
            self.child().respawn().await.map_err(|error| {
                Failure::new(ErrorCode::ChildExited, format!("failed to {error}"))
            })?;
        bus.emit(Event::ServiceStarted {
            name: self.name.clone(),
            pid: child.pid(),
            url: self.url.clone(),
            duration_ms: millis(began.elapsed()),
        });
        let child = Arc::new(child);
        self.life.send_modify(|life| *life = Life { child, started: began, struck: false });
        Ok(())
    }
}
