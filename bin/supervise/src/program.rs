//! Running the program.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use dialtone_child::protocol::{Launch, SpawnFailure};
use rustix::process::Pid;

use crate::log::Log;

/// A program that runs, and the copying of its output.
pub struct Program {
    /// Its process id, which is also the id of its group.
    pub pid: Pid,
    /// None where the output is discarded.
    pub log: Option<Arc<Log>>,
}

/// Runs the program in a group of its own. Must be called on the main thread.
pub fn run(launch: &Launch) -> io::Result<Program> {
    let mut command = Command::new(&launch.program);
    command.args(&launch.args).stdin(Stdio::null()).process_group(0);
    die_with_us(&mut command);
    let log = match &launch.log {
        None => {
            command.stdout(Stdio::null()).stderr(Stdio::null());
            None
        }
        Some(path) => {
            // One pipe for both, so that the order of lines is kept.
            let (reader, writer) = io::pipe()?;
            command.stdout(writer.try_clone()?).stderr(writer);
            Some(Log::start(reader, path, launch.log_cap)?)
        }
    };
    // The handle is let go: every child is waited for in one place, with the orphans.
    let pid = Pid::from_child(&command.spawn()?);
    Ok(Program { pid, log })
}

/// Sorts a failure, for the hint that the parent shows.
pub fn failure(error: &io::Error) -> SpawnFailure {
    match error.kind() {
        io::ErrorKind::NotFound => SpawnFailure::NotFound,
        io::ErrorKind::PermissionDenied => SpawnFailure::NotExecutable,
        _ => SpawnFailure::Other,
    }
}

/// The kernel kills the program when this thread ends, so that even SIGKILL of the supervisor does
/// not leave it running.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the death signal has to be set between fork and exec")]
fn die_with_us(command: &mut Command) {
    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

    let supervisor = getpid();
    let set = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Had the supervisor died before the line above, no signal would ever come.
        if getppid() != Some(supervisor) {
            return Err(io::Error::from(rustix::io::Errno::CHILD));
        }
        Ok(())
    };
    // SAFETY: after the fork the closure makes two plain system calls: it takes no lock and
    // allocates nothing.
    unsafe {
        command.pre_exec(set);
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_us(_command: &mut Command) {}
