//! What can go wrong around a child process.

use std::io;
use std::path::PathBuf;

/// A child could not be started or signalled.
///
/// Each text is a fragment that fits "failed to ...": what, where, the evidence, what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// This system has no process supervision yet.
    #[error(
        "start child `{name}`: child processes are not supported on this system; use Linux or macOS"
    )]
    Unsupported {
        /// Name of the child.
        name: String,
    },
    /// The `supervise` binary could not be run.
    #[error(
        "run the supervisor of child `{name}`: {} did not start: {source}; build it with `cargo build -p dialtone-supervise`, or check the path",
        program.display()
    )]
    Supervisor {
        /// Name of the child.
        name: String,
        /// Where the `supervise` binary was expected.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The program itself could not be run.
    #[error("start child `{name}`: {} did not start: {error}; {hint}", program.display())]
    Program {
        /// Name of the child.
        name: String,
        /// The program that was to run.
        program: PathBuf,
        /// What the system said.
        error: String,
        /// What to do next.
        hint: &'static str,
    },
    /// The log file could not be opened.
    #[error("open the log of child `{name}`: {}: {source}; check that the folder is writable", path.display())]
    Log {
        /// Name of the child.
        name: String,
        /// The log file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The working directory is not a folder.
    #[error("start child `{name}`: its working directory {} is not a folder; create it first", path.display())]
    Cwd {
        /// Name of the child.
        name: String,
        /// The working directory.
        path: PathBuf,
    },
    /// A listener or a pipe for the child could not be prepared.
    #[error("pass {what} to child `{name}`: {source}; check the limit of open files")]
    Descriptor {
        /// Name of the child.
        name: String,
        /// What was to be passed.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The supervisor ended before it could say whether the child runs.
    #[error("start child `{name}`: its supervisor ended first with {status}; last lines: {tail:?}")]
    Lost {
        /// Name of the child.
        name: String,
        /// How the supervisor ended.
        status: String,
        /// The last lines of the log.
        tail: String,
    },
    /// The child had already ended, so it could not be signalled.
    #[error("send {signal} to child `{name}`: it has already ended")]
    Ended {
        /// Name of the child.
        name: String,
        /// The signal.
        signal: crate::Signal,
    },
}
