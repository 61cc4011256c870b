//! The store: ports over sessions of a pool, and the applier.

use std::sync::Arc;

use async_trait::async_trait;
use dialtone_auth::NumberKey;
use dialtone_clock::{Clock, ScaledClock, Timeline, Timestamp};
use dialtone_contract::{BatchId, BatchState, EntryKey, TenantId};
use dialtone_store::{
    Accepted, Applied, BatchFilter, BatchRow, BatchStore, BatchTransition, CallRow, Change,
    ClaimDue, Claimed, EntryFilter, EntryRow, EventRow, Idempotency, NewBatch, NewEntry, NumberUse,
    Specs, StoreError,
};
use futures_util::future::try_join3;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::applier::{self, Applier};
use crate::fault::{Ended, Fault, Result};
use crate::hints::Hints;
use crate::pool::{Lent, Pool};
use crate::session::{Session, Shared};
use crate::sql::apply::{Bounds, apply};
use crate::sql::{batches, claim, entries, events, idempotency, meta, numbers, outbox, reports};
use crate::target::Target;
use crate::{OpenError, Options, migrate, open};

/// Connections for everything but changes: enough that some slow lists hold up nobody, and
/// few enough that a dozen servers fit into PostgreSQL's hundred.
const CONNECTIONS: usize = 6;

/// The shared engine. Cheap to call from many tasks at once.
pub struct PostgresStore {
    pool: Arc<Pool>,
    /// The connection that changes go through.
    writer: Arc<Pool>,
    /// None where the store was opened to be read only.
    applier: Option<Applier>,
    hints: Hints,
    listener: Option<JoinHandle<()>>,
    specs: Specs,
}

impl PostgresStore {
    /// Opens the store as one of its servers; makes its tables, or brings them up to date.
    ///
    /// # Errors
    /// If the database cannot be reached or used, or holds what this program cannot read.
    pub async fn open(
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> std::result::Result<Self, OpenError> {
        let target = Target::parse(&options.url, &options.schema)?;
        let session = open::first_session(&target).await?;
        migrate::migrate(&session, &target).await?;
        session.tell_time(&*clock).await.map_err(|fault| open::failed(&target, &fault))?;
        let hints = Hints::new();
        let listening = hints.start(&target).await;
        let listener = listening.map_err(|error| open::refused(&target, &error))?;
        let pool = Arc::new(Pool::new(target.clone(), Arc::clone(&clock), CONNECTIONS));
        pool.add(session);
        let writer = Arc::new(Pool::new(target, clock, 1));
        let applier = Applier::start(Arc::clone(&writer), hints.clone());
        Ok(Self {
            pool,
            writer,
            applier: Some(applier),
            hints,
            listener: Some(listener),
            specs: Specs::default(),
        })
    }

    /// Opens the store to look at it. Every method that writes answers
    /// [`StoreError::Unavailable`].
    ///
    /// # Errors
    /// If there is no store, or none that this program can read.
    pub async fn open_read_only(options: &Options) -> std::result::Result<Self, OpenError> {
        let target = Target::parse(&options.url, &options.schema)?;
        let session = open::first_session(&target).await?;
        migrate::check(&session, &target).await?;
        let clock: Arc<dyn Clock> = Arc::new(ScaledClock::new(Timeline::REAL));
        let pool = Arc::new(Pool::new(target.clone(), Arc::clone(&clock), CONNECTIONS));
        pool.add(session);
        let writer = Arc::new(Pool::new(target, clock, 0));
        let (hints, specs) = (Hints::new(), Specs::default());
        Ok(Self { pool, writer, applier: None, hints, listener: None, specs })
    }

    /// Where the store is, without a password.
    pub fn place(&self) -> String {
        format!("schema {} of {}", self.pool.target().schema(), self.pool.target())
    }

    /// Wall time of the longest group of changes so far; zero for a store that is only read.
    pub fn slowest_commit(&self) -> std::time::Duration {
        self.applier.as_ref().map(Applier::slowest).unwrap_or_default()
    }

    /// Lets what is under way end and closes the connections. Later calls of the ports
    /// answer [`StoreError::Unavailable`].
    pub async fn close(&self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
        if let Some(applier) = &self.applier {
            applier.close().await;
        }
        self.pool.close();
        self.writer.close();
    }

    /// Writes down a number that all servers must agree on, if it is the first; whether it is
    /// what stands there.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn agree_on(
        &self,
        name: &'static str,
        value: i64,
    ) -> std::result::Result<bool, StoreError> {
        self.write(move |session| async move { meta::agree_on(&session, name, value).await }).await
    }

    /// A session to read with.
    pub(crate) async fn read(&self) -> std::result::Result<Lent, StoreError> {
        Ok(self.pool.take().await?)
    }

    /// Runs a write to its end, again if others were in the way.
    pub(crate) async fn write<T, Work>(
        &self,
        work: impl Fn(Shared) -> Work + Send + 'static,
    ) -> std::result::Result<T, StoreError>
    where
        T: Send + 'static,
        Work: Future<Output = Ended<T>> + Send,
    {
        if self.applier.is_none() {
            return Err(read_only());
        }
        applier::write(&self.pool, work).await
    }

    pub(crate) fn announce(&self) {
        self.hints.announce();
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

fn read_only() -> StoreError {
    StoreError::Unavailable("the store was opened to be read only".to_owned())
}

#[async_trait]
impl BatchStore for PostgresStore {
    async fn create_batch(&self, new: NewBatch) -> std::result::Result<(), StoreError> {
        let new = Arc::new(new);
        self.write(move |session| {
            let new = Arc::clone(&new);
            async move { batches::create(&session, &new).await }
        })
        .await
    }

    async fn add_entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        new: &[NewEntry],
    ) -> std::result::Result<(), StoreError> {
        let what = Arc::new((tenant.clone(), batch.clone(), new.to_vec()));
        self.write(move |session| {
            let what = Arc::clone(&what);
            async move {
                let (tenant, batch, new) = &*what;
                in_transaction(&session, async {
                    if batches::hold(&session, tenant, batch).await? == Some(BatchState::Loading) {
                        entries::add(&session, tenant, batch, new).await?;
                    }
                    Ok(())
                })
                .await
            }
        })
        .await
    }

    async fn discard_batch(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> std::result::Result<bool, StoreError> {
        let what = Arc::new((tenant.clone(), batch.clone()));
        self.write(move |session| {
            let what = Arc::clone(&what);
            async move {
                let discard = batches::discard(&session, &what.0, &what.1);
                in_transaction(&session, discard).await
            }
        })
        .await
    }

    async fn accept_batch(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        at: Timestamp,
        idempotency: Option<Idempotency>,
    ) -> std::result::Result<Accepted, StoreError> {
        let change = BatchTransition {
            tenant: tenant.clone(),
            batch: batch.clone(),
            from: BatchState::Loading,
            unmoved_since: None,
            to: BatchState::Accepted,
            reason: None,
            limits: None,
            cancel: None,
            outbox: Vec::new(),
            at,
        };
        let what = Arc::new((Change::Batch(change.clone()), change, idempotency));
        let accepted = self
            .write(move |session| {
                let what = Arc::clone(&what);
                async move {
                    let (change, of, key) = &*what;
                    in_transaction(&session, accept(&session, change, of, key.as_ref())).await
                }
            })
            .await?;
        if accepted == Accepted::Accepted {
            self.announce();
        }
        Ok(accepted)
    }

    async fn accepted_under(
        &self,
        tenant: &TenantId,
        key: &str,
    ) -> std::result::Result<Option<(BatchId, String)>, StoreError> {
        Ok(idempotency::find(&*self.read().await?, tenant, key).await?)
    }

    async fn apply(&self, changes: &[Change]) -> std::result::Result<Vec<Applied>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        match &self.applier {
            Some(applier) => applier.apply(changes.into()).await,
            None => Err(read_only()),
        }
    }

    async fn claim_due(&self, due: ClaimDue) -> std::result::Result<Claimed, StoreError> {
        let due = Arc::new(due);
        let claimed = self
            .write(move |session| {
                let due = Arc::clone(&due);
                async move { claim::claim(&session, &due).await }
            })
            .await?;
        if !claimed.leased.is_empty() {
            self.announce();
        }
        Ok(claimed)
    }

    async fn waiting(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        limit: u32,
    ) -> std::result::Result<Vec<EntryRow>, StoreError> {
        Ok(entries::waiting(&*self.read().await?, tenant, batch, limit).await?)
    }

    async fn under_way(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> std::result::Result<Vec<(EntryRow, CallRow)>, StoreError> {
        Ok(entries::under_way(&*self.read().await?, tenant, batch).await?)
    }

    async fn batch(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> std::result::Result<Option<BatchRow>, StoreError> {
        Ok(batches::one(&*self.read().await?, tenant, batch).await?)
    }

    async fn batches(
        &self,
        tenant: &TenantId,
        filter: &BatchFilter,
        limit: u32,
    ) -> std::result::Result<Vec<BatchRow>, StoreError> {
        Ok(batches::of_tenant(&*self.read().await?, tenant, filter, limit).await?)
    }

    async fn batches_in(
        &self,
        states: &[BatchState],
    ) -> std::result::Result<Vec<BatchRow>, StoreError> {
        Ok(batches::in_states(&*self.read().await?, &self.specs, states).await?)
    }

    async fn due_batches(
        &self,
        states: &[BatchState],
        now: Timestamp,
        after: Option<&BatchId>,
        limit: u32,
    ) -> std::result::Result<Vec<BatchRow>, StoreError> {
        let session = self.read().await?;
        Ok(batches::due(&session, &self.specs, states, now, after, limit).await?)
    }

    async fn call(
        &self,
        tenant: &TenantId,
        key: &EntryKey,
        attempt: u32,
    ) -> std::result::Result<Option<(EntryRow, CallRow)>, StoreError> {
        Ok(entries::call(&*self.read().await?, tenant, key, attempt).await?)
    }

    async fn entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u32,
        limit: u32,
    ) -> std::result::Result<Vec<(EntryRow, Vec<CallRow>)>, StoreError> {
        let all = EntryFilter::default();
        self.find_entries(tenant, batch, all, after, u32::MAX, limit).await
    }

    async fn find_entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        filter: EntryFilter,
        after: u32,
        until: u32,
        limit: u32,
    ) -> std::result::Result<Vec<(EntryRow, Vec<CallRow>)>, StoreError> {
        let session = self.read().await?;
        Ok(entries::find(&session, tenant, batch, filter, after..=until, limit).await?)
    }

    async fn due_deadlines(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> std::result::Result<Vec<(EntryRow, CallRow)>, StoreError> {
        Ok(entries::due_deadlines(&*self.read().await?, now, limit).await?)
    }

    async fn next_due(
        &self,
        now: Timestamp,
        claimable: &[BatchState],
    ) -> std::result::Result<Option<Timestamp>, StoreError> {
        let session = self.read().await?;
        // Sent together: none of them depends on another.
        let next = try_join3(
            entries::next_deadline(&session, now),
            batches::next_waiting(&session, now, claimable),
            outbox::next(&session, now),
        );
        let (deadline, waiting, item) = next.await?;
        Ok([deadline, waiting, item].into_iter().flatten().min())
    }

    async fn events(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u64,
        limit: u32,
    ) -> std::result::Result<Vec<EventRow>, StoreError> {
        Ok(events::after(&*self.read().await?, tenant, batch, after, limit).await?)
    }

    async fn entry_events(
        &self,
        tenant: &TenantId,
        key: &EntryKey,
        after: u64,
        until: u64,
    ) -> std::result::Result<Vec<EventRow>, StoreError> {
        Ok(events::of_entry(&*self.read().await?, tenant, key, after, until).await?)
    }

    async fn number_use(
        &self,
        tenant: &TenantId,
        number: NumberKey,
    ) -> std::result::Result<Option<NumberUse>, StoreError> {
        Ok(numbers::of(&*self.read().await?, tenant, number).await?)
    }

    async fn forget_numbers(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> std::result::Result<u32, StoreError> {
        self.write(move |session| async move { numbers::forget(&session, before, limit).await })
            .await
    }

    async fn put_report(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        report: &str,
        at: Timestamp,
    ) -> std::result::Result<bool, StoreError> {
        let what = Arc::new((tenant.clone(), batch.clone(), report.to_owned()));
        self.write(move |session| {
            let what = Arc::clone(&what);
            async move { reports::put(&session, &what.0, &what.1, &what.2, at).await }
        })
        .await
    }

    async fn reports(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> std::result::Result<Vec<String>, StoreError> {
        Ok(reports::of(&*self.read().await?, tenant, batch).await?)
    }

    async fn next_epoch(&self) -> std::result::Result<u64, StoreError> {
        self.write(|session| async move { meta::next_epoch(&session).await }).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.hints.subscribe()
    }
}

/// Runs `work` in a transaction of the session.
pub(crate) async fn in_transaction<T>(
    session: &Session,
    work: impl Future<Output = Result<T>>,
) -> Ended<T> {
    session.begin().await?;
    session.end(work.await).await
}

async fn accept(
    session: &Session,
    change: &Change,
    of: &BatchTransition,
    idempotency: Option<&Idempotency>,
) -> Result<Accepted> {
    let (tenant, batch) = (&of.tenant, &of.batch);
    let not_loading = || Fault::Impossible(format!("{batch} is not loading"));
    // Held first: batches before everything else, as in every transaction.
    let stands = batches::hold(session, tenant, batch).await?;
    if let Some(new) = idempotency {
        if let Some((batch, request_hash)) = idempotency::find(session, tenant, &new.key).await? {
            return Ok(Accepted::Replayed { batch, request_hash });
        }
        if stands != Some(BatchState::Loading) {
            return Err(not_loading());
        }
        if !idempotency::take(session, tenant, batch, new, of.at).await? {
            // Somebody else was faster, and has committed: that was waited for.
            let found = idempotency::find(session, tenant, &new.key).await?;
            let (batch, request_hash) = found.ok_or_else(not_loading)?;
            return Ok(Accepted::Replayed { batch, request_hash });
        }
    }
    let answers = apply(session, &[change], Bounds::Callers).await.map_err(|ended| ended.fault)?;
    match answers.first() {
        Some(Applied::Applied { .. }) => Ok(Accepted::Accepted),
        _ => Err(not_loading()),
    }
}
