//! Why there is no cluster.

use std::path::PathBuf;
use std::time::Duration;

use dialtone_child::ChildError;

/// Why a cluster could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Its folder cannot be made or written.
    #[error("cannot use {}: {source}; is there room in the folder for temporary files?", path.display())]
    Folder {
        /// What was tried.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Root found nobody to run it as.
    #[error(
        "PostgreSQL does not run as root, and there is no user `postgres` or `nobody`; run this as another user"
    )]
    NoUser,
    /// A program could not be started.
    #[error("cannot {0}")]
    Child(#[from] ChildError),
    /// `initdb` failed.
    #[error("initdb failed with {exit}: {log}")]
    Initdb {
        /// How it ended.
        exit: String,
        /// Its last words.
        log: String,
    },
    /// The server ended before it was ready.
    #[error("postgres ended with {exit} before it was ready: {log}")]
    Ended {
        /// How it ended.
        exit: String,
        /// Its last words.
        log: String,
    },
    /// The server did not become ready in time.
    #[error("postgres was not ready within {} s: {log}", within.as_secs())]
    NotReady {
        /// How long it was waited for.
        within: Duration,
        /// Its last words.
        log: String,
    },
}
