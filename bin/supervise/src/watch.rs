//! The life of one child: run, end, kill, wait for everything.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

use dialtone_child::protocol::{Command, Event, Launch};
use dialtone_child::{Exit, Signal};
use rustix::process::{WaitOptions, WaitStatus, kill_process, wait};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::lifeline::Lifeline;
use crate::program::{self, Program};
use crate::{status, tree};

/// Grace when the parent is gone or the program ended by itself: nobody waits for the rest.
const SHORT_GRACE: Duration = Duration::from_secs(1);

/// How often to look again while something is being ended.
const TICK: Duration = Duration::from_millis(20);

/// How long to go on killing. What survives that belongs to another user or hangs in the kernel.
const GIVE_UP: Duration = Duration::from_secs(5);

/// How far the end has come.
#[derive(Clone, Copy)]
enum Stage {
    /// The program runs.
    Running,
    /// TERM was sent; KILL follows at this time.
    Ending(Instant),
    /// KILL is being sent, next at the first time and no longer than until the second.
    Killing(Instant, Instant),
}

struct Watch<'a> {
    launch: &'a Launch,
    program: Program,
    /// Whether the program was not waited for yet, so that its process id still means it.
    unreaped: bool,
    stage: Stage,
}

/// Signals to this process. Those of a terminal are caught and dropped: the parent decides. They
/// are caught, not ignored, because the program would inherit the latter.
struct Signals {
    child: Stream,
    term: Stream,
    _dropped: [Stream; 3],
}

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            child: signal(SignalKind::child())?,
            term: signal(SignalKind::terminate())?,
            _dropped: [
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
                signal(SignalKind::quit())?,
            ],
        })
    }
}

/// Runs the program and everything that follows. `passed` are the descriptors it inherits.
pub async fn run(launch: &Launch, passed: Vec<OwnedFd>) -> io::Result<ExitCode> {
    // Before the program runs, so that none of its signals is missed.
    let mut signals = Signals::catch()?;
    let mut lifeline = Lifeline::from_stdin()?;
    let program = match program::run(launch) {
        Ok(program) => program,
        Err(error) => {
            let reason = program::failure(&error);
            status::tell(&Event::SpawnFailed { error: error.to_string(), reason });
            return Ok(ExitCode::SUCCESS);
        }
    };
    // Only the program and the parent hold its listeners.
    drop(passed);
    status::tell(&Event::Started { pid: program.pid.as_raw_nonzero().get().unsigned_abs() });

    let mut watch = Watch { launch, program, unreaped: true, stage: Stage::Running };
    let mut parent_lives = true;
    while !watch.reap() {
        tokio::select! {
            _ = signals.child.recv() => {}
            _ = signals.term.recv() => watch.end(launch.grace),
            command = lifeline.next(), if parent_lives => match command {
                Some(command) => watch.obey(command),
                None => {
                    parent_lives = false;
                    watch.end(launch.grace.min(SHORT_GRACE));
                }
            },
            () = watch.alarm() => {
                if watch.give_up() {
                    let pids = tree::pids();
                    status::tell(&Event::Leftover { pids });
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
    }
    if let Some(log) = &watch.program.log {
        log.catch_up();
    }
    Ok(ExitCode::SUCCESS)
}

impl Watch<'_> {
    fn obey(&mut self, command: Command) {
        match command {
            Command::Stop => self.end(self.launch.grace),
            Command::Kill => self.kill(),
            Command::Signal(signal) => {
                if self.unreaped {
                    let _ = kill_process(self.program.pid, signal.into());
                }
            }
        }
    }

    /// TERM now, KILL after the grace. A second call can only bring the KILL forward.
    fn end(&mut self, grace: Duration) {
        let at = Instant::now() + grace;
        match self.stage {
            Stage::Running => {
                if self.unreaped {
                    tree::signal_group(self.program.pid, Signal::Term);
                    // A frozen process sees TERM only when thawed.
                    tree::signal_group(self.program.pid, Signal::Cont);
                }
                self.stage = Stage::Ending(at);
            }
            Stage::Ending(before) => self.stage = Stage::Ending(before.min(at)),
            Stage::Killing(..) => {}
        }
    }

    fn kill(&mut self) {
        tree::kill_all(self.program.pid);
        let now = Instant::now();
        let until = match self.stage {
            Stage::Killing(_, until) => until,
            _ => now + GIVE_UP,
        };
        self.stage = Stage::Killing(now + TICK, until);
    }

    /// Waits for everything that has ended; says whether nothing is left.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if pid == self.program.pid && self.unreaped {
                        self.unreaped = false;
                        self.program_ended(status);
                    }
                }
                Ok(None) => return false,
                Err(rustix::io::Errno::INTR) => {}
                // No children at all.
                Err(_) => return !tree::hidden_rest(self.program.pid),
            }
        }
    }

    /// Reports the end, and asks what the program has left behind to end too.
    fn program_ended(&mut self, status: WaitStatus) {
        if let Some(log) = &self.program.log {
            log.catch_up();
        }
        let exit = Exit { code: status.exit_status(), signal: status.terminating_signal() };
        status::tell(&Event::Exited(exit));
        if matches!(self.stage, Stage::Killing(..)) {
            return;
        }
        tree::signal_all(self.program.pid, Signal::Term);
        tree::signal_all(self.program.pid, Signal::Cont);
        self.end(self.launch.grace.min(SHORT_GRACE));
    }

    /// Ends at the next moment something is due; never while the program just runs. The moments are
    /// fixed, so that a storm of dying children cannot put them off.
    async fn alarm(&self) {
        match self.stage {
            Stage::Running => pending().await,
            Stage::Ending(at) if tree::SHOWS_ORPHANS || self.unreaped => sleep_until(at).await,
            Stage::Ending(at) => sleep_until(at.min(Instant::now() + TICK)).await,
            Stage::Killing(next, _) => sleep_until(next).await,
        }
    }

    /// What the alarm is for. Says whether killing has gone on for too long.
    fn give_up(&mut self) -> bool {
        let now = Instant::now();
        match self.stage {
            Stage::Ending(at) if now >= at => self.kill(),
            Stage::Killing(_, until) if now >= until => return true,
            Stage::Killing(..) => self.kill(),
            _ => {}
        }
        false
    }
}
