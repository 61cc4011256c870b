//! Everything below the supervisor.

use dialtone_child::Signal;
use rustix::process::{Pid, kill_process_group};

/// Whether the end of every descendant is seen by waiting for children.
pub const SHOWS_ORPHANS: bool = cfg!(target_os = "linux");

/// Makes orphans below us our children, so that a daemon that leaves its parent and its session is
/// still found and waited for.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Sends a signal to a group. To that of the program only while the program was not waited for:
/// until then its process id cannot mean another group.
pub fn signal_group(group: Pid, signal: Signal) {
    let _ = kill_process_group(group, signal.into());
}

/// Sends a signal to every descendant.
#[cfg(target_os = "linux")]
pub fn signal_all(_program: Pid, signal: Signal) {
    for process in descendants() {
        process.signal(signal);
    }
}

/// Sends a signal to what is left of the program's group: here nothing else can be found.
#[cfg(not(target_os = "linux"))]
pub fn signal_all(program: Pid, signal: Signal) {
    signal_group(program, signal);
}

/// Kills every descendant, again and again until no new one shows up: a process can fork while it
/// is being killed.
#[cfg(target_os = "linux")]
pub fn kill_all(_program: Pid) {
    use std::collections::BTreeSet;

    /// Enough for any honest tree; the caller comes back for the rest.
    const ROUNDS: usize = 32;
    let mut seen = BTreeSet::new();
    for _ in 0..ROUNDS {
        let mut fresh = false;
        for process in descendants() {
            // The dead count as well: their group can have living members.
            fresh |= seen.insert((process.pid, process.start_time));
            process.signal(Signal::Kill);
            kill_group(process.group);
        }
        if !fresh {
            return;
        }
    }
}

/// Kills the group of a descendant. A program that forks a successor and exits, for ever, is gone
/// before its process id can be used; its group stays the same, and nothing can fork its way out of
/// a signal to the group. We lead a session of our own, so the groups below us hold nobody else.
#[cfg(target_os = "linux")]
fn kill_group(group: u32) {
    let own = rustix::process::getpgrp();
    if let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw)
        && group != own
    {
        signal_group(group, Signal::Kill);
    }
}

/// Kills what is left of the program's group.
#[cfg(not(target_os = "linux"))]
pub fn kill_all(program: Pid) {
    signal_group(program, Signal::Kill);
}

/// Whether anything is left that waiting for children does not show: members of the program's group
/// where orphans do not become our children.
pub fn hidden_rest(program: Pid) -> bool {
    !SHOWS_ORPHANS && rustix::process::test_kill_process_group(program).is_ok()
}

/// Process ids of what is left, for the report of a failure.
pub fn pids() -> Vec<u32> {
    descendants().iter().filter(|process| !process.zombie).map(|process| process.pid).collect()
}

fn descendants() -> Vec<dialtone_child::process::Process> {
    dialtone_child::process::descendants(std::process::id())
}
