//! The store ports: what the platform asks of a database, and nothing of how.
//!
//! **Rust decides, the store compares and swaps.** The one writer of entry and batch
//! states is [`BatchStore::apply`]; every change names the state and the attempt that
//! it expects, and a change whose expectation does not hold is [`Applied::Stale`] and
//! leaves no trace. Selectors choose rows and hold no policy. No method but those that
//! serve all tenants' work (claims, deadlines, outbox) can see another tenant's rows.
//!
//! Engines: [`memory`] here, SQLite and PostgreSQL in crates of their own. All pass
//! [`conformance`].

mod access;
mod change;
pub mod conformance;
mod error;
pub mod memory;
pub mod memory_access;
mod port;
mod row;

pub use access::{Access, ApiKeyRow, NewApiKey};
pub use change::{Applied, BatchTransition, CallPatch, Change, ClaimDue, OutboxItem, Transition};
pub use error::StoreError;
pub use port::{Accepted, BatchStore, Directory, Idempotency, Outbox, Store};
pub use row::{
    BatchMode, BatchRow, BatchSpec, CallRow, CounterKey, Counters, EntryRow, EventRow, NewBatch,
    NewEntry, OutboxRow,
};
