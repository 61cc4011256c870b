//! Everything below the supervisor.

use dialtone_child::Signal;
use rustix::process::{Pid, kill_process_group};

/// Makes orphans below us our children, so that a daemon that leaves its parent and its session is
/// still found and waited for.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Sends a signal to the group of the program. Only while the program was not waited for: until
/// then its process id cannot mean another group.
pub fn signal_group(program: Pid, signal: Signal) {
    let _ = kill_process_group(program, signal.into());
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
            fresh |= seen.insert((process.pid, process.start_time));
            process.signal(Signal::Kill);
        }
        if !fresh {
            return;
        }
    }
}

/// Kills what is left of the program's group.
#[cfg(not(target_os = "linux"))]
pub fn kill_all(program: Pid) {
    signal_group(program, Signal::Kill);
}

/// Whether anything is left that waiting for children does not show.
#[cfg(target_os = "linux")]
pub fn hidden_rest(_program: Pid) -> bool {
    // Orphans become our children, so there is nothing else.
    false
}

/// Whether the program's group still has members: here orphans do not become our children.
#[cfg(not(target_os = "linux"))]
pub fn hidden_rest(program: Pid) -> bool {
    rustix::process::test_kill_process_group(program).is_ok()
}

/// Process ids of what is left, for the report of a failure.
pub fn pids() -> Vec<u32> {
    descendants().iter().map(|process| process.pid).collect()
}

fn descendants() -> Vec<dialtone_child::process::Process> {
    dialtone_child::process::descendants(std::process::id())
}
