//! Holds one child process for `dialtone-child`, so that nothing outlives its parent.
//!
//! The program after `--` runs in its own group with no stdin and its output copied into a capped
//! log file. The lifeline on stdin decides how long: a command or its end leads to TERM, a grace,
//! and KILL for every descendant. What happens is told on stdout as JSON lines. Not meant to be
//! run by hand.

#[cfg(unix)]
mod descriptors;
#[cfg(unix)]
mod lifeline;
#[cfg(unix)]
mod log;
#[cfg(unix)]
mod program;
#[cfg(unix)]
mod status;
#[cfg(unix)]
mod tree;
#[cfg(unix)]
mod watch;

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    let launch = match dialtone_child::protocol::Launch::from_args(std::env::args_os().skip(1)) {
        Ok(launch) => launch,
        Err(why) => return refuse(&format!("{why}; supervise is started by dialtone")),
    };
    let passed = match descriptors::adopt(&launch.keep_fds) {
        Ok(passed) => passed,
        Err(error) => return refuse(&error.to_string()),
    };
    // A session of our own: no terminal, so no Ctrl-C and no hang-up reaches this tree. It fails
    // only where the caller has seen to it already.
    let _ = rustix::process::setsid();
    tree::adopt_orphans();
    // One thread and the main one: the parent-death signal is bound to the thread that spawns, and
    // this one lives as long as the process.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(watch::run(&launch, passed))) {
        Ok(code) => code,
        Err(error) => refuse(&error.to_string()),
    }
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    refuse("child processes are not supported on this system yet")
}

/// Says why nothing was done. Stderr can be closed, which is no reason to panic.
fn refuse(why: &str) -> ExitCode {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "supervise: {why}");
    ExitCode::from(2)
}
