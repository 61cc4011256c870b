//! The store: ports over the writer and the readers.

use std::path::Path;
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
use rusqlite::Connection;
use tokio::sync::watch;

use crate::convert::{Fault, Result};
use crate::lock::DirLock;
use crate::open::{self, DB_FILE, OpenError};
use crate::reader::{self, Readers};
use crate::sql::{
    apply, batches, claim, entries, events, idempotency, meta, numbers, outbox, reports,
};
use crate::writer::{Writer, Written};

/// The embedded engine. Cheap to call from many tasks at once; ends its threads and
/// closes the database when dropped.
pub struct SqliteStore {
    readers: Readers,
    /// None where the store was opened to be read only.
    writer: Option<Writer>,
    changes: Arc<watch::Sender<u64>>,
    specs: Arc<Specs>,
    /// Last: let go of only when the database is closed.
    _lock: Option<DirLock>,
}

impl SqliteStore {
    /// Opens the data directory `dir` as its owner; makes it, and the database, if they
    /// are not there.
    ///
    /// # Errors
    /// If the directory cannot be used, has another owner, or holds what this program
    /// cannot read.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>) -> std::result::Result<Self, OpenError> {
        open::make_dir(dir)?;
        let lock = DirLock::take(dir)?;
        let path = dir.join(DB_FILE);
        open::make_file(dir)?;
        open::check_header(&path)?;
        let connection = open::writer(&path, Arc::clone(&clock))?;
        let changes = Arc::new(watch::Sender::new(0));
        let writer = Writer::start(connection, Arc::clone(&changes))
            .map_err(|source| OpenError::Directory { path: path.clone(), source })?;
        let readers = start_readers(&path, clock)?;
        Ok(Self {
            readers,
            writer: Some(writer),
            changes,
            specs: Arc::default(),
            _lock: Some(lock),
        })
    }

    /// Opens the data directory `dir` for a few small changes, whether or not a server runs
    /// on it: without one as its owner, else beside it. SQLite lets one write at a time, and
    /// who comes second waits a moment.
    ///
    /// # Errors
    /// As [`Self::open`]; and if the server that runs writes another schema.
    pub fn open_beside(dir: &Path, clock: Arc<dyn Clock>) -> std::result::Result<Self, OpenError> {
        let busy = match Self::open(dir, Arc::clone(&clock)) {
            Err(busy @ OpenError::Busy { .. }) => busy,
            other => return other,
        };
        let path = dir.join(DB_FILE);
        open::check_header(&path)?;
        let Some(connection) = open::second_writer(&path, Arc::clone(&clock))? else {
            return Err(busy);
        };
        let changes = Arc::new(watch::Sender::new(0));
        let writer = Writer::start(connection, Arc::clone(&changes))
            .map_err(|source| OpenError::Directory { path: path.clone(), source })?;
        let readers = start_readers(&path, clock)?;
        Ok(Self { readers, writer: Some(writer), changes, specs: Arc::default(), _lock: None })
    }

    /// Opens the data directory `dir` to look at it, whether or not a server runs on it.
    /// Every method that writes answers [`StoreError::Unavailable`].
    ///
    /// # Errors
    /// If there is no database, or none that this program can read.
    pub fn open_read_only(dir: &Path) -> std::result::Result<Self, OpenError> {
        let path = dir.join(DB_FILE);
        if !path.is_file() {
            return Err(OpenError::Missing { path });
        }
        open::check_header(&path)?;
        let clock: Arc<dyn Clock> = Arc::new(ScaledClock::new(Timeline::REAL));
        let readers = start_readers(&path, clock)?;
        let changes = Arc::new(watch::Sender::new(0));
        Ok(Self { readers, writer: None, changes, specs: Arc::default(), _lock: None })
    }

    /// Wall time of the longest commit so far; zero for a store that is only read.
    pub fn slowest_commit(&self) -> std::time::Duration {
        self.writer.as_ref().map(Writer::slowest_commit).unwrap_or_default()
    }

    /// Does what already waits, then ends the threads and closes the database. Later
    /// calls of the ports answer [`StoreError::Unavailable`]. Dropping the store does
    /// the same and blocks meanwhile.
    pub async fn close(&self) {
        self.readers.stop().await;
        let readers = self.readers.threads();
        if let Some(writer) = &self.writer {
            // After the readers: the last connection to close folds the log into the file.
            let _ = tokio::task::spawn_blocking(move || readers.into_iter().for_each(join)).await;
            writer.stop().await;
            if let Some(thread) = writer.thread() {
                let _ = tokio::task::spawn_blocking(move || join(thread)).await;
            }
        }
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, StoreError> {
        self.readers.read(read).await
    }

    /// As [`Self::read`], for a few rows.
    pub(crate) async fn read_few<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, StoreError> {
        self.readers.read_few(read).await
    }

    /// As [`Self::read`], for a few rows that one statement finds.
    pub(crate) async fn read_one<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, StoreError> {
        self.readers.read_one(read).await
    }

    pub(crate) async fn write<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<Written<T>> + Send + 'static,
    ) -> std::result::Result<T, StoreError> {
        match &self.writer {
            Some(writer) => writer.write(operation).await,
            None => Err(read_only()),
        }
    }
}

fn read_only() -> StoreError {
    StoreError::Unavailable("the store was opened to be read only".to_owned())
}

fn start_readers(path: &Path, clock: Arc<dyn Clock>) -> std::result::Result<Readers, OpenError> {
    let mut connections = Vec::with_capacity(reader::THREADS + reader::NEAR);
    for clock in std::iter::repeat_n(clock, reader::THREADS + reader::NEAR) {
        connections.push(open::reader(path, clock)?);
    }
    let near = connections.split_off(reader::THREADS);
    Readers::start(connections, near)
        .map_err(|source| OpenError::Directory { path: path.to_owned(), source })
}

fn join(thread: std::thread::JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the store panicked");
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.readers.hang_up();
        self.readers.threads().into_iter().for_each(join);
        if let Some(mut writer) = self.writer.take() {
            writer.hang_up();
            writer.thread().into_iter().for_each(join);
        }
    }
}

#[async_trait]
impl BatchStore for SqliteStore {
    async fn create_batch(&self, new: NewBatch) -> std::result::Result<(), StoreError> {
        self.write(move |c| batches::create(c, &new).map(Written::quietly)).await
    }

    async fn add_entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        new: &[NewEntry],
    ) -> std::result::Result<(), StoreError> {
        let (tenant, batch, new) = (tenant.clone(), batch.clone(), new.to_vec());
        self.write(move |c| {
            if batches::state(c, &tenant, &batch)? == Some(BatchState::Loading) {
                entries::add(c, &tenant, &batch, &new)?;
            }
            Ok(Written::quietly(()))
        })
        .await
    }

    async fn discard_batch(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> std::result::Result<bool, StoreError> {
        let (tenant, batch) = (tenant.clone(), batch.clone());
        self.write(move |c| batches::discard(c, &tenant, &batch).map(Written::quietly)).await
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
        self.write(move |c| accept(c, &change, idempotency.as_ref())).await
    }

    async fn accepted_under(
        &self,
        tenant: &TenantId,
        key: &str,
    ) -> std::result::Result<Option<(BatchId, String)>, StoreError> {
        let (tenant, key) = (tenant.clone(), key.to_owned());
        self.read_one(move |c| idempotency::find(c, &tenant, &key)).await
    }

    async fn apply(&self, changes: &[Change]) -> std::result::Result<Vec<Applied>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        match &self.writer {
            Some(writer) => writer.apply(changes.into()).await,
            None => Err(read_only()),
        }
    }

    async fn claim_due(&self, due: ClaimDue) -> std::result::Result<Claimed, StoreError> {
        self.write(move |c| {
            let answer = claim::claim(c, &due)?;
            Ok(Written { made_work: !answer.leased.is_empty(), answer })
        })
        .await
    }

    async fn waiting(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        limit: u32,
    ) -> std::result::Result<Vec<EntryRow>, StoreError> {
        let (tenant, batch) = (tenant.clone(), batch.clone());
        self.read(move |c| entries::waiting(c, &tenant, &batch, limit)).await
    }

    async fn under_way(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> std::result::Result<Vec<(EntryRow, CallRow)>, StoreError> {
        let (tenant, batch) = (tenant.clone(), batch.clone());
        self.read(move |c| entries::under_way(c, &tenant, &batch)).await
    }

    async fn batch(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> std::result::Result<Option<BatchRow>, StoreError> {
        let (tenant, batch) = (tenant.clone(), batch.clone());
        self.read_few(move |c| batches::one(c, &tenant, &batch)).await
    }

    async fn batches(
        &self,
        tenant: &TenantId,
        filter: &BatchFilter,
        limit: u32,
    ) -> std::result::Result<Vec<BatchRow>, StoreError> {
        let (tenant, filter) = (tenant.clone(), filter.clone());
        self.read(move |c| batches::of_tenant(c, &tenant, &filter, limit)).await
    }

    async fn batches_in(
        &self,
        states: &[BatchState],
    ) -> std::result::Result<Vec<BatchRow>, StoreError> {
        let (specs, states) = (Arc::clone(&self.specs), states.to_vec());
        self.read(move |c| batches::in_states(c, &specs, &states)).await
    }

    async fn due_batches(
        &self,
        states: &[BatchState],
        now: Timestamp,
        after: Option<&BatchId>,
        limit: u32,
    ) -> std::result::Result<Vec<BatchRow>, StoreError> {
        let (states, after) = (states.to_vec(), after.cloned());
        let specs = Arc::clone(&self.specs);
        self.read(move |c| batches::due(c, &specs, &states, now, after.as_ref(), limit)).await
    }

    async fn call(
        &self,
        tenant: &TenantId,
        key: &EntryKey,
        attempt: u32,
    ) -> std::result::Result<Option<(EntryRow, CallRow)>, StoreError> {
        let (tenant, key) = (tenant.clone(), key.clone());
        self.read_one(move |c| entries::call(c, &tenant, &key, attempt)).await
    }

    async fn entries(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u32,
        limit: u32,
    ) -> std::result::Result<Vec<(EntryRow, Vec<CallRow>)>, StoreError> {
        let (tenant, batch) = (tenant.clone(), batch.clone());
        self.read(move |c| entries::page(c, &tenant, &batch, after, limit)).await
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
        let (tenant, batch) = (tenant.clone(), batch.clone());
        self.read(move |c| entries::find(c, &tenant, &batch, filter, after..=until, limit)).await
    }

    async fn due_deadlines(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> std::result::Result<Vec<(EntryRow, CallRow)>, StoreError> {
        self.read_one(move |c| entries::due_deadlines(c, now, limit)).await
    }

    async fn next_due(
        &self,
        now: Timestamp,
        claimable: &[BatchState],
    ) -> std::result::Result<Option<Timestamp>, StoreError> {
        let claimable = claimable.to_vec();
        self.read_few(move |c| {
            let next = [
                entries::next_deadline(c, now)?,
                batches::next_waiting(c, now, &claimable)?,
                outbox::next(c, now)?,
            ];
            Ok(next.into_iter().flatten().min())
        })
        .await
    }

    async fn events(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u64,
        limit: u32,
    ) -> std::result::Result<Vec<EventRow>, StoreError> {
        let (tenant, batch) = (tenant.clone(), batch.clone());
        self.read(move |c| events::after(c, &tenant, &batch, after, limit)).await
    }

    async fn entry_events(
        &self,
        tenant: &TenantId,
        key: &EntryKey,
        after: u64,
        until: u64,
    ) -> std::result::Result<Vec<EventRow>, StoreError> {
        let (tenant, key) = (tenant.clone(), key.clone());
        self.read(move |c| events::of_entry(c, &tenant, &key, after, until)).await
    }

    async fn number_use(
        &self,
        tenant: &TenantId,
        number: NumberKey,
    ) -> std::result::Result<Option<NumberUse>, StoreError> {
        let tenant = tenant.clone();
        self.read_few(move |c| numbers::of(c, &tenant, number)).await
    }

    async fn forget_numbers(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> std::result::Result<u32, StoreError> {
        self.write(move |c| numbers::forget(c, before, limit).map(Written::quietly)).await
    }

    async fn put_report(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        report: &str,
        at: Timestamp,
    ) -> std::result::Result<bool, StoreError> {
        let (tenant, batch, report) = (tenant.clone(), batch.clone(), report.to_owned());
        self.write(move |c| {
            let answer = reports::put(c, &tenant, &batch, &report, at)?;
            Ok(Written { answer, made_work: answer })
        })
        .await
    }

    async fn reports(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> std::result::Result<Vec<String>, StoreError> {
        let (tenant, batch) = (tenant.clone(), batch.clone());
        self.read(move |c| reports::of(c, &tenant, &batch)).await
    }

    async fn next_epoch(&self) -> std::result::Result<u64, StoreError> {
        self.write(|c| meta::next_epoch(c).map(Written::quietly)).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

fn accept(
    connection: &Connection,
    change: &BatchTransition,
    idempotency: Option<&Idempotency>,
) -> Result<Written<Accepted>> {
    let (tenant, batch) = (&change.tenant, &change.batch);
    if let Some(new) = idempotency
        && let Some((batch, request_hash)) = idempotency::find(connection, tenant, &new.key)?
    {
        return Ok(Written::quietly(Accepted::Replayed { batch, request_hash }));
    }
    if !apply::apply_batch(connection, change)?.is_applied() {
        return Err(Fault::Impossible(format!("{batch} is not loading")));
    }
    if let Some(new) = idempotency {
        idempotency::insert(connection, tenant, batch, new, change.at)?;
    }
    Ok(Written { answer: Accepted::Accepted, made_work: true })
}
