use async_trait::async_trait;
use dialtone_auth::NumberKey;
use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, BatchState, EntryKey, TenantId};
use tokio::sync::watch;

use crate::{
    Applied, BatchFilter, BatchRow, CallRow, Change, ClaimDue, Claimed, EntryFilter, EntryRow,
    EventRow, IntakeStore, Lane, NewBatch, NewEntry, NumberUse, OutboxRow, StoreError,
    SuppressionRow, Webhook,
};

/// A create request's key and what it was sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key, unique per tenant.
    pub key: String,
    /// Hash of the request.
    pub request_hash: String,
}

/// What became of an accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The batch is `accepted`.
    Accepted,
    /// Another batch was accepted under the key before; this one stays `loading`.
    Replayed {
        /// That batch.
        batch: BatchId,
        /// What it was asked for with.
        request_hash: String,
    },
}

/// The batch pipeline's rows.
#[async_trait]
pub trait BatchStore: Send + Sync + 'static {
    /// Creates a batch in state `loading`, invisible to claims.
    async fn create_batch(&self, new: NewBatch) -> Result<(), StoreError>;

    /// Adds entries to a loading batch. An entry that is already there stays as it is.
    async fn add_entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        entries: &[NewEntry],
    ) -> Result<(), StoreError>;

    /// Removes a batch that is still loading, with its entries: nobody was told of it.
    /// Gives whether there was such a batch.
    async fn discard_batch(&self, tenant: &TenantId, batch: &BatchId) -> Result<bool, StoreError>;

    /// Moves a batch from `loading` to `accepted` and takes the idempotency key, in one
    /// commit: a batch is acknowledged whole or not at all.
    async fn accept_batch(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        at: Timestamp,
        idempotency: Option<Idempotency>,
    ) -> Result<Accepted, StoreError>;

    /// The batch that was accepted under `key`, and the hash of its request.
    async fn accepted_under(
        &self,
        tenant: &TenantId,
        key: &str,
    ) -> Result<Option<(BatchId, String)>, StoreError>;

    /// Makes each change whose expectation holds; one answer each, in order. All that
    /// hold are in one commit, and answers come after it.
    async fn apply(&self, changes: &[Change]) -> Result<Vec<Applied>, StoreError>;

    /// Leases due entries of one batch, earliest first, with a new attempt each; says of
    /// those that it came upon and could not lease why not.
    async fn claim_due(&self, claim: ClaimDue) -> Result<Claimed, StoreError>;

    /// Entries of a batch that wait for a claim, whether or not they are due.
    async fn waiting(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        limit: u32,
    ) -> Result<Vec<EntryRow>, StoreError>;

    /// Entries of a batch with an attempt under way, with that attempt. As many as there
    /// are: a batch's limits bound them.
    async fn under_way(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> Result<Vec<(EntryRow, CallRow)>, StoreError>;

    /// A batch with its figures, all at one `event_seq`.
    async fn batch(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> Result<Option<BatchRow>, StoreError>;

    /// A tenant's batches, newest first.
    async fn batches(
        &self,
        tenant: &TenantId,
        filter: &BatchFilter,
        limit: u32,
    ) -> Result<Vec<BatchRow>, StoreError>;

    /// All tenants' batches in any of `states`, oldest first.
    async fn batches_in(&self, states: &[BatchState]) -> Result<Vec<BatchRow>, StoreError>;

    /// All tenants' batches in any of `states` that have an entry due at `now`, in the order
    /// of their ids from behind `after` on.
    async fn due_batches(
        &self,
        states: &[BatchState],
        now: Timestamp,
        after: Option<&BatchId>,
        limit: u32,
    ) -> Result<Vec<BatchRow>, StoreError>;

    /// An entry and one of its attempts.
    async fn call(
        &self,
        tenant: &TenantId,
        key: &EntryKey,
        attempt: u32,
    ) -> Result<Option<(EntryRow, CallRow)>, StoreError>;

    /// Entries after place `after`, with all their attempts, oldest first.
    async fn entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<(EntryRow, Vec<CallRow>)>, StoreError>;

    /// Entries that pass the filter, among those from behind place `after` up to and with
    /// `until`, with all their attempts, by place. Whoever asks bounds what is read by it.
    async fn find_entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        filter: EntryFilter,
        after: u32,
        until: u32,
        limit: u32,
    ) -> Result<Vec<(EntryRow, Vec<CallRow>)>, StoreError>;

    /// All tenants' entries whose deadline has come, with the current attempt.
    async fn due_deadlines(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<(EntryRow, CallRow)>, StoreError>;

    /// When the next deadline, retry or outbox item falls due, of those that are not due
    /// at `now` already. A waiting entry counts only if its batch is in one of `claimable`.
    async fn next_due(
        &self,
        now: Timestamp,
        claimable: &[BatchState],
    ) -> Result<Option<Timestamp>, StoreError>;

    /// Events of a batch after `after`, in order.
    async fn events(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError>;

    /// Events of one entry among those of its batch after `after`, up to and with `until`,
    /// in order.
    async fn entry_events(
        &self,
        tenant: &TenantId,
        key: &EntryKey,
        after: u64,
        until: u64,
    ) -> Result<Vec<EventRow>, StoreError>;

    /// What stands in the way of a call to the number, by live batches; `None` if nothing
    /// does.
    async fn number_use(
        &self,
        tenant: &TenantId,
        number: NumberKey,
    ) -> Result<Option<NumberUse>, StoreError>;

    /// Forgets up to `limit` numbers of all tenants that have been free since `before`; gives
    /// their number.
    async fn forget_numbers(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError>;

    /// Writes the batch's report if there is none; `true` if it was written.
    async fn put_report(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        report: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// The batch's reports: none or one.
    async fn reports(&self, tenant: &TenantId, batch: &BatchId) -> Result<Vec<String>, StoreError>;

    /// A lease epoch higher than any before it.
    async fn next_epoch(&self) -> Result<u64, StoreError>;

    /// Changes with every commit that may have made work. A hint: whoever waits on it
    /// also looks by himself from time to time.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// What has to leave the platform.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Hands out due items of a lane and makes them due again at `again_at`, so that an
    /// item whose sender dies is sent by the next one.
    async fn due_outbox(
        &self,
        lane: Lane,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError>;

    /// Removes items that have been sent.
    async fn outbox_done(&self, ids: &[i64]) -> Result<(), StoreError>;

    /// Makes an item due at `at`, if it is still there, and writes down that it was tried so
    /// many times: being handed out counts as a try until whoever took it knows better.
    async fn outbox_later(&self, id: i64, at: Timestamp, tries: u32) -> Result<(), StoreError>;
}

/// Who may ask for what.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// Makes sure that tenant `demo`, its user 1 and its voice `demo` exist.
    async fn seed_demo(&self) -> Result<(), StoreError>;

    /// Whether the tenant has this voice.
    async fn has_voice(&self, tenant: &TenantId, voice: &str) -> Result<bool, StoreError>;

    /// Whether the tenant has this user.
    async fn has_user(&self, tenant: &TenantId, user: i64) -> Result<bool, StoreError>;

    /// Entries of the tenant with an attempt under way, of all its batches.
    async fn in_flight(&self, tenant: &TenantId) -> Result<u32, StoreError>;

    /// Calls that the tenant may have in flight at once, if that is bounded.
    async fn max_concurrent(&self, tenant: &TenantId) -> Result<Option<u32>, StoreError>;

    /// Bounds the calls that the tenant may have in flight at once; `false` if there is
    /// no such tenant.
    async fn set_max_concurrent(
        &self,
        tenant: &TenantId,
        max: Option<u32>,
    ) -> Result<bool, StoreError>;
}

/// Numbers that may not be called.
#[async_trait]
pub trait Suppressions: Send + Sync + 'static {
    /// Adds numbers; one that is there already keeps its source. Gives how many are new.
    async fn suppress(
        &self,
        tenant: &TenantId,
        numbers: &[NumberKey],
        source: &str,
        at: Timestamp,
    ) -> Result<u32, StoreError>;

    /// Removes a number; whether it was there.
    async fn unsuppress(&self, tenant: &TenantId, number: NumberKey) -> Result<bool, StoreError>;

    /// Suppressed numbers after `after`, in the order of their keys.
    async fn suppressions(
        &self,
        tenant: &TenantId,
        after: Option<NumberKey>,
        limit: u32,
    ) -> Result<Vec<SuppressionRow>, StoreError>;

    /// Whether the number may not be called.
    async fn is_suppressed(&self, tenant: &TenantId, number: NumberKey)
    -> Result<bool, StoreError>;
}

/// Endpoints that are told of a tenant's batches.
#[async_trait]
pub trait Webhooks: Send + Sync + 'static {
    /// Adds an endpoint; `false` if there is no such tenant.
    async fn add_webhook(&self, tenant: &TenantId, webhook: &Webhook) -> Result<bool, StoreError>;

    /// The tenant's endpoints, oldest first.
    async fn webhooks(&self, tenant: &TenantId) -> Result<Vec<Webhook>, StoreError>;

    /// Removes an endpoint; whether it was there.
    async fn remove_webhook(&self, tenant: &TenantId, id: &str) -> Result<bool, StoreError>;
}

/// All ports of one engine.
pub trait Store: BatchStore + Outbox + Directory + Suppressions + IntakeStore + Webhooks {}

impl<S: BatchStore + Outbox + Directory + Suppressions + IntakeStore + Webhooks> Store for S {}
