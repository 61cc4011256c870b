//! Child processes that cannot outlive their parent.
//!
//! A [`Supervisor`] starts a [`Spec`] under the tiny `supervise` binary and hands back a [`Child`].
//! `supervise` holds the program for us: it has its own session, adopts every orphan below it, and
//! reads a pipe from this process, the *lifeline*. When the lifeline ends, for whatever reason, the
//! whole tree ends: TERM to the child's group, a grace, then KILL for every descendant. So a normal
//! stop, a dropped handle, a panic, `process::exit`, a signal and even SIGKILL of this process all
//! lead to the same clean machine.
//!
//! ```text
//! this process --lifeline (commands, EOF)--> supervise --TERM, grace, KILL--> child and descendants
//!              <--status (JSON lines)-------           <--stdout, stderr----- (capped log file)
//! ```
//!
//! Invariants:
//! - The child's environment is empty but for a short allowlist and what the [`Spec`] sets. Secrets
//!   travel there, never in arguments.
//! - The child's output always has a reader with a bounded file behind it, so a flood of log lines
//!   neither blocks the child nor fills the disk.
//! - Listeners are bound by the parent and passed down, so a port survives a crash of the child.
//! - Every child carries [`RUN_ENV`], so [`census`] can prove that a run left nothing behind.
//!
//! The promise is complete on Linux. [`strength`] says what is weaker elsewhere.

pub mod census;
mod child;
mod error;
mod exit;
pub mod inherit;
mod log;
pub mod process;
pub mod protocol;
pub mod runfile;
mod signal;
mod spec;
mod strength;
mod supervisor;

pub use child::Child;
pub use error::ChildError;
pub use exit::Exit;
pub use signal::Signal;
pub use spec::Spec;
pub use strength::{Strength, strength};
pub use supervisor::Supervisor;

/// Environment variable that names the run a process belongs to.
pub const RUN_ENV: &str = "DIALTONE_RUN";

/// Environment variable that names one started child, so that its descendants can be found even
/// after its supervisor was killed.
pub const CHILD_ENV: &str = "DIALTONE_CHILD";
