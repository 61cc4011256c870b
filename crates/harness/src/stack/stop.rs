//! Taking a stack down, and proving that nothing of it is left.

use std::time::{Duration, Instant};

use dialtone_child::{Exit, census};
use dialtone_contract::ErrorCode;
use tokio::time::timeout;

use super::member::KILL;
use super::{GRACE, Member, Port, Stack};
use crate::envelope::millis;
use crate::event::Event;
use crate::failure::Failure;
use crate::run_dir::{RunDir, TMP};

/// How long processes that were told to end may stay in the list.
const SETTLE: Duration = Duration::from_secs(3);

/// How long a port may take to be free again.
const RELEASE: Duration = Duration::from_secs(1);

/// How long a supervisor may take to have its child gone: the grace, what it waits for descendants
/// that do not die, and some time to tell.
const HELD: Duration = Duration::from_secs(GRACE.as_secs() + 5 + 2);

/// How long the end may take once everything was killed.
const KILLED: Duration = Duration::from_secs(2);

/// What a teardown found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Teardown {
    /// Processes that were stopped.
    pub stopped: usize,
    /// Processes that carried the run's tag after everything was stopped.
    pub processes: Vec<String>,
    /// Ports that somebody still listened on.
    pub ports: Vec<String>,
    /// Files that were left where temporary files go.
    pub files: Vec<String>,
    /// Processes that did not end well when they were told to.
    pub unclean: Vec<String>,
}

impl Teardown {
    /// Everything that was left, one line each.
    pub fn left(&self) -> Vec<String> {
        let files = self.files.iter().map(|file| format!("temporary file {file}"));
        let processes = self.processes.iter().map(|process| format!("process {process}"));
        let ports = self.ports.iter().map(|port| format!("port {port}"));
        processes.chain(ports).chain(files).collect()
    }

    /// Looks at one port more, that of a server in this process.
    pub fn look_at(&mut self, service: &str, port: u16) {
        self.ports.extend(Port::holder(service, port));
    }

    /// The failure, if a process did not end well.
    pub fn bad_end(&self) -> Option<Failure> {
        let first = self.unclean.first()?;
        Some(Failure::new(ErrorCode::ChildExited, first.clone()).evidence(self.unclean.clone()))
    }

    /// The failure, if anything was left.
    pub fn failure(&self) -> Option<Failure> {
        let left = self.left();
        let first = left.first()?;
        let message = match left.len() {
            1 => format!("left behind: {first}"),
            n => format!("left behind: {first}, and {} more", n - 1),
        };
        Some(Failure::new(ErrorCode::Leaked, message).evidence(left))
    }
}

impl Stack {
    /// Looks for what is left of a stack that never came up: its processes end by themselves.
    pub async fn sweep(dir: &RunDir) -> Teardown {
        let processes = leftovers(dir.run_id()).await;
        Teardown { processes, files: files_in(&dir.join(TMP)), ..Teardown::default() }
    }

    /// Stops every process in reverse order of start, then looks for what is left.
    pub async fn stop(mut self) -> Teardown {
        let began = Instant::now();
        let mut ports = Vec::new();
        let stopped = self.members.len();
        let mut unclean = Vec::new();
        while let Some(member) = self.members.pop() {
            match member.end().await {
                Ended::Well => {}
                Ended::Busy => {
                    let (name, s) = (&member.name, GRACE.as_secs());
                    let text = format!("{name} was still busy after {s} s and was killed");
                    self.bus.emit(Event::Note { text });
                }
                Ended::Badly(how) => unclean.push(how),
            }
            ports.push((member.name.clone(), member.port));
        }
        if stopped > 0 {
            let duration_ms = millis(began.elapsed());
            self.bus.emit(Event::Stopped { processes: stopped, duration_ms });
        }
        let processes = leftovers(&self.run_id).await;
        let ports = held(ports).await;
        Teardown { stopped, processes, ports, files: files_in(&self.tmp), unclean }
    }
}

/// How a process took it to be told to end.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// In order, or it was gone before.
    Well,
    /// Killed when its grace was over.
    Busy,
    /// Otherwise.
    Badly(String),
}

impl Member {
    /// TERM, the grace, KILL; how it ended. `None` if not even its supervisor could end it.
    pub async fn stop(&self) -> Option<Exit> {
        timeout(HELD, self.child().stop()).await.ok()
    }

    /// Ends it, in bounded time whatever has become of its supervisor.
    async fn end(&self) -> Ended {
        if self.child().try_exit().is_some() {
            // Its end is known, but what was below it may have to be waited for.
            let _ = timeout(HELD, self.child().stop()).await;
            return Ended::Well;
        }
        let began = Instant::now();
        if let Ok(exit) = timeout(HELD, self.child().stop()).await {
            return ended(&self.name, exit, began.elapsed());
        }
        let killed = self.child().sweep().await.len();
        let _ = timeout(KILLED, self.child().wait_gone()).await;
        Ended::Badly(format!(
            "the supervisor of {} (pid {}) did not end it within {} s; {killed} processes were killed",
            self.name,
            self.child().supervisor_pid(),
            HELD.as_secs()
        ))
    }
}

fn ended(name: &str, exit: Exit, took: Duration) -> Ended {
    if exit.success() {
        Ended::Well
    } else if exit.signal == Some(KILL) && took >= GRACE {
        Ended::Busy
    } else {
        Ended::Badly(format!("{name} ended with {exit} when it was told to stop"))
    }
}

/// The ports that somebody still listens on. Tasks that waited for a process give up its listener
/// a moment after they are told to, so one look is not enough.
async fn held(mut ports: Vec<(String, u16)>) -> Vec<String> {
    let deadline = Instant::now() + RELEASE;
    loop {
        let mut holders = Vec::new();
        ports.retain(|(name, port)| {
            Port::holder(name, *port).is_some_and(|holder| {
                holders.push(holder);
                true
            })
        });
        if holders.is_empty() || Instant::now() >= deadline {
            return holders;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What still carries the run's tag. It is named, and then it is killed: a leak fails the run, it
/// must not outlive it.
async fn leftovers(run_id: &str) -> Vec<String> {
    let left = census::wait_empty(run_id, SETTLE).await;
    if !left.is_empty() {
        let run_id = run_id.to_owned();
        let _ = tokio::task::spawn_blocking(move || census::kill_all(&run_id)).await;
    }
    left.iter().map(ToString::to_string).collect()
}

fn files_in(dir: &std::path::Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_kill_is_no_bad_end() {
        let exit = |code, signal| Exit { code, signal };
        let ended = |exit, took| ended("api", exit, took);
        assert_eq!(ended(exit(Some(0), None), GRACE), Ended::Well);
        assert_eq!(ended(exit(None, Some(9)), GRACE), Ended::Busy);
        let bad = |exit| matches!(ended(exit, Duration::ZERO), Ended::Badly(_));
        assert!(bad(exit(None, Some(9))) && bad(exit(None, Some(11))) && bad(exit(Some(3), None)));
        let unclean = vec!["api ended with exit code 3 when it was told to stop".to_owned()];
        let failure = Teardown { unclean, ..Teardown::default() }.bad_end().expect("a bad end");
        assert_eq!((failure.code, failure.exit.code()), (ErrorCode::ChildExited, 3));
    }

    #[test]
    fn a_leak_is_named() {
        assert_eq!(Teardown { stopped: 3, ..Teardown::default() }.failure(), None);
        let teardown = Teardown {
            stopped: 3,
            processes: vec!["sleep (pid 7, parent 1): sleep 60".into()],
            ports: vec!["127.0.0.1:4000 for `api` is in use by pid 7 (sleep)".into()],
            files: vec!["left.sock".into()],
            unclean: Vec::new(),
        };
        let failure = teardown.failure().expect("a leak");
        assert_eq!(failure.exit.code(), 6);
        insta::assert_snapshot!(format!("{failure}\n{}", failure.evidence.join("\n")), @r"
        left behind: process sleep (pid 7, parent 1): sleep 60, and 2 more
        process sleep (pid 7, parent 1): sleep 60
        port 127.0.0.1:4000 for `api` is in use by pid 7 (sleep)
        temporary file left.sock
        ");
    }
}
