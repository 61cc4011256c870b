//! The statements, one file per table. Functions here run inside a transaction that
//! their caller opened; they decide nothing.

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
