//! The embedded engine of the store ports: SQLite in the data directory of one server
//! process. Nothing to install, nothing to start.
//!
//! - **One writer.** A thread owns the only connection that writes. It takes every
//!   operation that waits, runs each in a savepoint of its own inside one transaction,
//!   and answers after the commit: many callers share one disk flush, and a caller that
//!   has an answer has it durably (`synchronous=FULL`).
//! - **Readers** have connections of their own, see committed rows only, and never wait
//!   for the writer. A caller sees what it was told is written.
//! - **One owner.** The data directory is locked; a second server is refused by name.
//! - **No policy.** Statements compare and swap. No statement names a state.

mod access;
mod applies;
mod convert;
mod intake;
mod lock;
mod migrate;
mod open;
mod ports;
mod reader;
mod sql;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use open::{DB_FILE, LOCK_FILE, OpenError};
pub use store::SqliteStore;
