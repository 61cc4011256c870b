//! `voice_call_batches`.

use std::sync::Arc;

use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, BatchState, CancelMode, TenantId};
use dialtone_store::{
    BatchFilter, BatchLimits, BatchRow, BatchSpec, BatchTransition, ClaimDue, Counters, NewBatch,
    Specs,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{counters, entries, rejects};
use crate::convert::{self, Columns, Fault, Result};

macro_rules! columns {
    ($rest:literal) => {
        concat!(
            "SELECT tenant_id, batch_id, spec, state, reason, event_seq, attempts, dials,
                    created_at, started_at, finished_at, max_concurrent, calls_per_second,
                    paced_at, claimed_at, cancel_mode, rejected
             FROM voice_call_batches ",
            $rest
        )
    };
}

/// By tenant and id.
pub(crate) const ONE: &str = columns!("WHERE tenant_id = ?1 AND batch_id = ?2");
/// A tenant's, newest first: ids are time-ordered.
pub(crate) const OF_TENANT: &str =
    columns!("WHERE tenant_id = ?1 AND batch_id < ?2 ORDER BY batch_id DESC LIMIT ?3");
/// A tenant's in one state, newest first.
pub(crate) const OF_TENANT_IN: &str = columns!(
    "INDEXED BY voice_call_batches_list
     WHERE tenant_id = ?1 AND state = ?4 AND batch_id < ?2 ORDER BY batch_id DESC LIMIT ?3"
);
/// All tenants', by state, oldest first.
pub(crate) const IN_STATES: &str =
    columns!("WHERE state IN (SELECT value FROM json_each(?1)) ORDER BY batch_id");
/// All tenants', by state, that have an entry due at `?2`.
pub(crate) const DUE: &str = columns!(
    "AS b WHERE b.state IN (SELECT value FROM json_each(?1)) AND b.batch_id > ?3
       AND EXISTS (SELECT 1 FROM batch_entries AS e INDEXED BY batch_entries_waiting
                   WHERE e.batch_id = b.batch_id AND e.not_before <= ?2)
     ORDER BY b.batch_id LIMIT ?4"
);

fn row(row: &Row<'_>) -> rusqlite::Result<BatchRow> {
    read(row, |_, text| serde_json::from_str(text).map(Arc::new))
}

fn read(
    row: &Row<'_>,
    spec: impl FnOnce(&BatchId, &str) -> serde_json::Result<Arc<BatchSpec>>,
) -> rusqlite::Result<BatchRow> {
    let mut columns = Columns::of(row);
    let tenant = TenantId::new(columns.take::<String>()?);
    let id = BatchId::new(columns.take::<String>()?);
    Ok(BatchRow {
        spec: columns.text(|text| spec(&id, text))?,
        tenant,
        id,
        state: columns.name()?,
        reason: columns.take()?,
        event_seq: columns.u64()?,
        attempts: columns.take()?,
        dials: columns.take()?,
        counters: Counters::new(),
        created_at: columns.at()?,
        started_at: columns.maybe_at()?,
        finished_at: columns.maybe_at()?,
        limits: BatchLimits { max_concurrent: columns.take()?, calls_per_second: columns.take()? },
        paced_at: columns.maybe_at()?,
        claimed_at: columns.maybe_at()?,
        cancel: columns.maybe_name()?,
        rejected: columns.take()?,
    })
}

fn with_counters(connection: &Connection, mut batch: BatchRow) -> Result<BatchRow> {
    batch.counters = counters::of(connection, &batch.tenant, &batch.id)?;
    Ok(batch)
}

/// A batch that is there already stays as it is.
pub(crate) fn create(connection: &Connection, new: &NewBatch) -> Result<()> {
    let sql = "INSERT INTO voice_call_batches (tenant_id, batch_id, spec, state, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (batch_id) DO NOTHING";
    connection.prepare_cached(sql)?.execute(params![
        new.tenant.as_str(),
        new.id.as_str(),
        serde_json::to_string(&new.spec)?,
        BatchState::Loading.as_str(),
        new.created_at.as_micros(),
    ])?;
    Ok(())
}

/// Removes a batch that is still loading, with its entries. Nothing else can point at it.
pub(crate) fn discard(connection: &Connection, tenant: &TenantId, batch: &BatchId) -> Result<bool> {
    if state(connection, tenant, batch)? != Some(BatchState::Loading) {
        return Ok(false);
    }
    entries::remove_all(connection, tenant, batch)?;
    counters::remove_all(connection, tenant, batch)?;
    rejects::remove_all(connection, tenant, batch)?;
    let sql = "DELETE FROM voice_call_batches WHERE tenant_id = ?1 AND batch_id = ?2";
    connection.prepare_cached(sql)?.execute(params![tenant.as_str(), batch.as_str()])?;
    Ok(true)
}

pub(crate) fn one(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<Option<BatchRow>> {
    let mut statement = connection.prepare_cached(ONE)?;
    let found = statement.query_row(params![tenant.as_str(), batch.as_str()], row).optional()?;
    found.map(|batch| with_counters(connection, batch)).transpose()
}

/// Behind every id: those are of letters, digits and underscores.
const NEWEST: &str = "~";

pub(crate) fn of_tenant(
    connection: &Connection,
    tenant: &TenantId,
    filter: &BatchFilter,
    limit: u32,
) -> Result<Vec<BatchRow>> {
    let before = filter.before.as_ref().map_or(NEWEST, BatchId::as_str);
    let found: Vec<BatchRow> = match filter.state {
        Some(state) => {
            let values = params![tenant.as_str(), before, limit, state.as_str()];
            let mut statement = connection.prepare_cached(OF_TENANT_IN)?;
            statement.query_map(values, row)?.collect::<rusqlite::Result<_>>()?
        }
        None => {
            let mut statement = connection.prepare_cached(OF_TENANT)?;
            let rows = statement.query_map(params![tenant.as_str(), before, limit], row)?;
            rows.collect::<rusqlite::Result<_>>()?
        }
    };
    found.into_iter().map(|batch| with_counters(connection, batch)).collect()
}

pub(crate) fn in_states(
    connection: &Connection,
    specs: &Specs,
    states: &[BatchState],
) -> Result<Vec<BatchRow>> {
    let mut statement = connection.prepare_cached(IN_STATES)?;
    let row = |row: &Row<'_>| read(row, |id, text| specs.of(id, text));
    let rows = statement.query_map([convert::state_list(states)?], row)?;
    rows.map(|batch| with_counters(connection, batch?)).collect()
}

pub(crate) fn due(
    connection: &Connection,
    specs: &Specs,
    states: &[BatchState],
    now: Timestamp,
    after: Option<&BatchId>,
    limit: u32,
) -> Result<Vec<BatchRow>> {
    let mut statement = connection.prepare_cached(DUE)?;
    let after = after.map_or("", BatchId::as_str);
    let values = params![convert::state_list(states)?, now.as_micros(), after, limit];
    let row = |row: &Row<'_>| read(row, |id, text| specs.of(id, text));
    let rows = statement.query_map(values, row)?;
    rows.map(|batch| with_counters(connection, batch?)).collect()
}

/// Where the batch stands; `None` if the tenant has no such batch.
pub(crate) fn state(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<Option<BatchState>> {
    let sql = "SELECT state FROM voice_call_batches WHERE tenant_id = ?1 AND batch_id = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement
        .query_row(params![tenant.as_str(), batch.as_str()], |row| Columns::of(row).name())
        .optional()?;
    Ok(found)
}

/// Where the batch stands and up to where its pace has been used; `None` if the tenant
/// has no such batch.
pub(crate) fn claim_state(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<Option<(BatchState, Option<Timestamp>)>> {
    let sql = "SELECT state, paced_at FROM voice_call_batches
               WHERE tenant_id = ?1 AND batch_id = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row(params![tenant.as_str(), batch.as_str()], |row| {
        let mut columns = Columns::of(row);
        Ok((columns.name()?, columns.maybe_at()?))
    });
    Ok(found.optional()?)
}

/// Notes a claim that leased `n` entries, for the claims after it.
pub(crate) fn note_claim(connection: &Connection, claim: &ClaimDue, n: u32) -> Result<()> {
    let sql = "UPDATE voice_call_batches SET claimed_at = ?3, paced_at = coalesce(?4, paced_at)
               WHERE tenant_id = ?1 AND batch_id = ?2";
    connection.prepare_cached(sql)?.execute(params![
        claim.tenant.as_str(),
        claim.batch.as_str(),
        claim.now.as_micros(),
        claim.pace.map(|pace| pace.after(n).as_micros()),
    ])?;
    Ok(())
}

/// Moves the batch if it is where the change expects it; its `event_seq` then.
pub(crate) fn move_to(connection: &Connection, change: &BatchTransition) -> Result<Option<u64>> {
    let sql = "UPDATE voice_call_batches
               SET state = ?4, reason = ?5, event_seq = event_seq + 1,
                   started_at = coalesce(started_at, ?6),
                   finished_at = coalesce(?7, finished_at),
                   max_concurrent = CASE WHEN ?8 THEN ?9 ELSE max_concurrent END,
                   calls_per_second = CASE WHEN ?8 THEN ?10 ELSE calls_per_second END,
                   cancel_mode = coalesce(?11, cancel_mode),
                   paced_at = CASE WHEN ?8 AND calls_per_second IS NOT ?10 THEN NULL
                                   ELSE paced_at END
               WHERE tenant_id = ?1 AND batch_id = ?2 AND state = ?3
                 AND (?12 IS NULL OR NOT EXISTS (
                        SELECT 1 FROM call_events
                        WHERE tenant_id = ?1 AND batch_id = ?2 AND event_seq > ?12
                          AND seq IS NULL))
               RETURNING event_seq";
    let at = |set: bool| set.then(|| change.at.as_micros());
    let mut statement = connection.prepare_cached(sql)?;
    let moved = statement
        .query_row(
            params![
                change.tenant.as_str(),
                change.batch.as_str(),
                change.from.as_str(),
                change.to.as_str(),
                change.reason,
                at(change.to == BatchState::Running),
                at(change.to.is_terminal()),
                change.limits.is_some(),
                change.limits.and_then(|limits| limits.max_concurrent),
                change.limits.and_then(|limits| limits.calls_per_second),
                change.cancel.map(CancelMode::as_str),
                change.unmoved_since.map(convert::int).transpose()?,
            ],
            |row| Columns::of(row).u64(),
        )
        .optional()?;
    Ok(moved)
}

/// What an operation on entries adds to its batch's figures.
#[derive(Default)]
pub(crate) struct Delta {
    pub(crate) events: u32,
    pub(crate) attempts: i64,
    pub(crate) dials: u32,
}

/// Adds to the figures; the `event_seq` after. Events of one batch get their places
/// here, under the batch's row.
pub(crate) fn add(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
    delta: &Delta,
) -> Result<u64> {
    let sql = "UPDATE voice_call_batches
               SET event_seq = event_seq + ?3, attempts = attempts + ?4, dials = dials + ?5
               WHERE tenant_id = ?1 AND batch_id = ?2
               RETURNING event_seq";
    let values =
        params![tenant.as_str(), batch.as_str(), delta.events, delta.attempts, delta.dials];
    connection
        .prepare_cached(sql)?
        .query_row(values, |row| Columns::of(row).u64())
        .optional()?
        .ok_or_else(|| Fault::Impossible(format!("batch {batch} has entries but no row")))
}

/// When the next waiting entry of a batch in one of `claimable` falls due after `now`.
pub(crate) const NEXT_WAITING: &str = "
    SELECT min((SELECT min(e.not_before) FROM batch_entries AS e
                INDEXED BY batch_entries_waiting
                WHERE e.batch_id = b.batch_id AND e.not_before > ?1))
    FROM voice_call_batches AS b
    WHERE b.state IN (SELECT value FROM json_each(?2))";

pub(crate) fn next_waiting(
    connection: &Connection,
    now: Timestamp,
    claimable: &[BatchState],
) -> Result<Option<Timestamp>> {
    let values = params![now.as_micros(), convert::state_list(claimable)?];
    let mut statement = connection.prepare_cached(NEXT_WAITING)?;
    Ok(statement.query_row(values, |row| Columns::of(row).maybe_at())?)
}
