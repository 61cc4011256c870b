//! Taking a stack down, and proving that nothing of it is left.

use std::time::{Duration, Instant};

use dialtone_child::{Exit, census};
use dialtone_contract::ErrorCode;

use super::{GRACE, Port, Stack};
use crate::envelope::millis;
use crate::event::Event;
use crate::failure::Failure;
use crate::run_dir::{RunDir, TMP};

/// How long processes that were told to end may stay in the list.
const SETTLE: Duration = Duration::from_secs(3);

/// How long a port may take to be free again.
const RELEASE: Duration = Duration::from_secs(1);

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
}

impl Teardown {
    /// Everything that was left, one line each.
    pub fn left(&self) -> Vec<String> {
        let files = self.files.iter().map(|file| format!("temporary file {file}"));
        let processes = self.processes.iter().map(|process| format!("process {process}"));
        let ports = self.ports.iter().map(|port| format!("port {port}"));
        processes.chain(ports).chain(files).collect()
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
        while let Some(member) = self.members.pop() {
            let ended_before = member.child.try_exit().is_some();
            let exit = member.child.stop().await;
            if !ended_before && exit.code != Some(0) {
                self.bus.emit(unclean(&member.name, exit));
            }
            ports.push((member.name.clone(), member.port));
        }
        if stopped > 0 {
            let duration_ms = millis(began.elapsed());
            self.bus.emit(Event::Stopped { processes: stopped, duration_ms });
        }
        let processes = leftovers(&self.run_id).await;
        Teardown { stopped, processes, ports: held(ports).await, files: files_in(&self.tmp) }
    }
}

/// What is said of a process that did not end well when it was told to.
fn unclean(name: &str, exit: Exit) -> Event {
    /// Number of the signal that cannot be caught.
    const KILL: i32 = 9;
    if exit.signal == Some(KILL) {
        let text = format!("{name} was still busy after {} s and was killed", GRACE.as_secs());
        return Event::Note { text };
    }
    Event::Warning { text: format!("{name} ended with {exit} when it was told to stop") }
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
    fn a_leak_is_named() {
        assert_eq!(Teardown { stopped: 3, ..Teardown::default() }.failure(), None);
        let teardown = Teardown {
            stopped: 3,
            processes: vec!["sleep (pid 7, parent 1): sleep 60".into()],
            ports: vec!["127.0.0.1:4000 for `api` is in use by pid 7 (sleep)".into()],
            files: vec!["left.sock".into()],
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
