//! The statements, one file per table. They decide nothing.
//!
//! **Order of locks**, the same everywhere, so that no two transactions wait for each other:
//! a tenant's claims (advisory), batches by id, numbers by key. Whoever moves an entry holds
//! its batch, so that entries, attempts, counters and events need no order of their own.

pub(crate) mod access;
pub(crate) mod apply;
pub(crate) mod batches;
pub(crate) mod calls;
pub(crate) mod claim;
pub(crate) mod counters;
pub(crate) mod directory;
pub(crate) mod entries;
pub(crate) mod events;
pub(crate) mod idempotency;
pub(crate) mod meta;
pub(crate) mod numbers;
pub(crate) mod outbox;
pub(crate) mod rejects;
pub(crate) mod reports;
pub(crate) mod suppressions;
pub(crate) mod webhooks;
