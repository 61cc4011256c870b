//! Processes as the kernel lists them, told apart by start time and never by process id alone.
//!
//! Process ids are reused, so a [`Process`] is an id and the time the process started. Only Linux
//! offers the list; elsewhere [`all`] is empty.

use crate::Signal;

/// One process of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Process id of the parent.
    pub ppid: u32,
    /// Process group.
    pub group: u32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
    /// Short name, as the kernel keeps it.
    pub name: String,
    /// Whether it has ended and only waits for its parent to look.
    pub zombie: bool,
}

/// All processes that can be seen. Empty where the system has no list.
pub fn all() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(find)
        .collect()
}

/// Looks one process up.
pub fn find(pid: u32) -> Option<Process> {
    // The name can hold any byte, so the line is not always text.
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&String::from_utf8_lossy(&stat))
}

/// Every process below `root`, which is not in the answer itself. Those that have ended but were not
/// yet waited for are in it too.
pub fn descendants(root: u32) -> Vec<Process> {
    let mut rest = all();
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        let (children, others): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|process| process.ppid == parent && process.pid != root);
        rest = others;
        parents.extend(children.iter().map(|process| process.pid));
        found.extend(children);
    }
    found
}

/// Names the boot, so that start times of two boots are never compared.
pub fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

impl Process {
    /// Whether this very process still runs.
    pub fn runs(&self) -> bool {
        find(self.pid).is_some_and(|now| now.start_time == self.start_time && !now.zombie)
    }

    /// Sends a signal to this very process, never to a later one with the same id. Says whether it
    /// was delivered.
    #[cfg(target_os = "linux")]
    pub fn signal(&self, signal: Signal) -> bool {
        use rustix::io::Errno;
        use rustix::process::{Pid, PidfdFlags, kill_process, pidfd_open, pidfd_send_signal};
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return false };
        // A descriptor pins the process: what is checked after opening is what is signalled.
        let pinned = pidfd_open(pid, PidfdFlags::empty());
        if !self.runs() {
            return false;
        }
        match pinned {
            Ok(fd) => pidfd_send_signal(fd, signal.into()).is_ok(),
            // Some sandboxes lack process descriptors.
            Err(Errno::NOSYS | Errno::PERM) => kill_process(pid, signal.into()).is_ok(),
            Err(_) => false,
        }
    }

    /// Sends a signal. This system cannot tell a process from a later one with the same id, so
    /// nothing is ever sent.
    #[cfg(not(target_os = "linux"))]
    pub fn signal(&self, _signal: Signal) -> bool {
        false
    }
}

/// Reads a line of `/proc/<pid>/stat`. The name can hold spaces and brackets, so what follows is
/// found from the last bracket.
fn parse_stat(stat: &str) -> Option<Process> {
    let open = stat.find('(')?;
    let close = stat.rfind(')')?;
    let rest: Vec<&str> = stat.get(close + 1..)?.split_ascii_whitespace().collect();
    Some(Process {
        pid: stat.get(..open)?.trim().parse().ok()?,
        name: stat.get(open + 1..close)?.to_owned(),
        zombie: matches!(*rest.first()?, "Z" | "X"),
        ppid: rest.get(1)?.parse().ok()?,
        group: rest.get(2)?.parse().ok()?,
        start_time: rest.get(19)?.parse().ok()?,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn names_with_brackets_are_read() {
        let stat = "7 (a) b (c)) Z 3 5 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 99 0 0";
        let process = parse_stat(stat).unwrap();
        assert_eq!((process.pid, process.ppid, process.group), (7, 3, 5));
        assert_eq!(process.start_time, 99);
        assert_eq!(process.name, "a) b (c)");
        assert!(process.zombie);
        assert!(parse_stat("7 (a").is_none());
    }

    #[test]
    fn a_later_process_with_the_same_id_is_left_alone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = find(child.id()).unwrap();
        let stranger = Process { start_time: process.start_time - 1, ..process.clone() };
        assert!(!stranger.signal(Signal::Kill));
        assert!(process.runs());
        assert!(process.signal(Signal::Kill));
        child.wait().unwrap();
        assert!(!process.runs());
    }

    #[test]
    fn descendants_hold_children() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let below = descendants(std::process::id());
        assert!(below.iter().any(|process| process.pid == child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
