//! The shared engine of the store ports: PostgreSQL, for several servers at once.
//!
//! - **The batch is the unit of order.** Whoever moves entries of a batch holds the batch's
//!   row, so counters and `event_seq` have no gap with any number of servers, and locks are
//!   taken in one order everywhere (`sql`), so that nobody waits in a circle.
//! - **Group commit.** Changes of many callers go into one transaction over arrays, in two
//!   round trips; answers come after the commit. A caller whose commit's answer was lost is
//!   told that nobody knows.
//! - **Hints.** Commits that make work are announced to the other servers by NOTIFY. Nothing
//!   depends on it: whoever waits also looks by himself.
//! - **One plan.** Sessions are set so that each statement has one plan, over its index.
//! - **No policy.** Statements compare and swap. No statement names a state.

mod access;
mod applier;
mod convert;
mod fault;
mod hints;
mod intake;
mod migrate;
mod open;
mod pool;
mod ports;
mod session;
mod sql;
mod store;
mod target;

pub use open::{OpenError, Options};
pub use store::PostgresStore;

#[cfg(test)]
extern crate self as dialtone_store_postgres;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;
#[cfg(test)]
mod tests;
