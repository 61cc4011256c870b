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
mod claim;
pub mod conformance;
mod error;
mod filter;
mod intake;
pub mod memory;
pub mod memory_access;
mod outbox;
mod port;
mod row;
mod specs;
mod webhook;

pub use access::{Access, ApiKeyRow, NewApiKey};
pub use change::{Applied, BatchTransition, CallPatch, Change, NumberRelease, Transition};
pub use claim::{ClaimDue, Claimed, Held, NumberUse, Pace};
pub use error::StoreError;
pub use filter::{BatchFilter, EntryFilter};
pub use intake::IntakeStore;
pub use outbox::{Lane, OutboxItem};
pub use port::{
    Accepted, BatchStore, Directory, Idempotency, Outbox, Store, Suppressions, Webhooks,
};
pub use row::{
    BatchLimits, BatchMode, BatchRow, BatchSpec, CallRow, CounterKey, Counters, EntryRow, EventRow,
    NewBatch, NewEntry, OutboxRow, SuppressionRow,
};
pub use specs::Specs;
pub use webhook::{Webhook, WebhookEvents};
