//! Counting what a run left behind.
//!
//! Every child carries [`RUN_ENV`] in its environment and hands it to its own children, so after
//! teardown one look at all environments proves that nothing is left, whatever became of process
//! groups, sessions and parents. Only Linux shows environments; elsewhere the census is empty.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use crate::process::{self, Process};
use crate::{RUN_ENV, Signal};

/// How often [`wait_empty`] looks again.
const POLL: Duration = Duration::from_millis(20);

/// Rounds of killing: a process that forks while it is killed is caught in the next round.
const ROUNDS: usize = 50;

/// A process that still carries the tag of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Process id.
    pub pid: u32,
    /// Process id of its parent.
    pub ppid: u32,
    /// Short name, as the kernel keeps it.
    pub name: String,
    /// Its command line, for messages.
    pub command: String,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}, parent {}): {}", self.name, self.pid, self.ppid, self.command)
    }
}

/// The processes of this run that are still there. This process and those that have ended but were
/// not yet waited for do not count.
pub fn tagged(run: &str) -> Vec<Leftover> {
    carrying(RUN_ENV, run).into_iter().map(leftover).collect()
}

/// Waits until nothing of this run is left, and returns what still was there at the end of the
/// time: an empty list is the good answer.
pub async fn wait_empty(run: &str, timeout: Duration) -> Vec<Leftover> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = tagged(run);
        if left.is_empty() || Instant::now() >= deadline {
            return left;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Kills everything of this run at once, supervisors included, and returns what it killed. For
/// leftovers of a run that is over: a living run is ended through its [`crate::Child`] handles.
pub fn kill_all(run: &str) -> Vec<Leftover> {
    kill_carrying(RUN_ENV, run)
}

/// Kills every process that has `key=value` in its environment.
pub(crate) fn kill_carrying(key: &str, value: &str) -> Vec<Leftover> {
    let mut killed = Vec::new();
    let mut seen = BTreeSet::new();
    for _ in 0..ROUNDS {
        let found = carrying(key, value);
        if found.is_empty() {
            break;
        }
        for process in found {
            if seen.insert((process.pid, process.start_time)) {
                process.signal(Signal::Kill);
                killed.push(leftover(process));
            }
        }
        // What was killed needs a moment to leave the list.
        std::thread::sleep(Duration::from_millis(2));
    }
    killed
}

fn carrying(key: &str, value: &str) -> Vec<Process> {
    let wanted = format!("{key}={value}");
    let own = std::process::id();
    process::all()
        .into_iter()
        .filter(|process| process.pid != own && !process.zombie)
        .filter(|process| {
            std::fs::read(format!("/proc/{}/environ", process.pid))
                .is_ok_and(|env| env.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes()))
        })
        .collect()
}

fn leftover(process: Process) -> Leftover {
    let command = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    let command = command.trim_end().chars().take(200).collect();
    Leftover { pid: process.pid, ppid: process.ppid, name: process.name, command }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn finds_and_kills_exactly_one_run() {
        let run = format!("census-{}", std::process::id());
        let start = |tag: &str| {
            std::process::Command::new("sleep").arg("60").env(RUN_ENV, tag).spawn().unwrap()
        };
        let (mut ours, mut other) = (start(&run), start(&format!("{run}-other")));
        let found = wait_for(&run).await;
        assert_eq!(found.iter().map(|left| left.pid).collect::<Vec<_>>(), [ours.id()]);
        assert!(found[0].to_string().contains("sleep 60"), "{}", found[0]);
        assert_eq!(wait_empty(&run, Duration::ZERO).await.len(), 1);

        assert_eq!(kill_all(&run).len(), 1);
        assert!(wait_empty(&run, Duration::from_secs(3)).await.is_empty());
        ours.wait().unwrap();
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }

    /// Until exec, a forked process still shows this test's environment.
    async fn wait_for(run: &str) -> Vec<Leftover> {
        for _ in 0..500 {
            let found = tagged(run);
            if found.iter().any(|left| left.name == "sleep") {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the tagged process never showed up");
    }
}
