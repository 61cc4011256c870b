//! `batch_entries`.

use std::ops::RangeInclusive;

use dialtone_auth::{NumberKey, Phone};
use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, EntryKey, EntryState, Outcome, PlannedOutcome, TenantId};
use dialtone_store::{CallRow, EntryFilter, EntryRow, NewEntry, Transition};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{calls, counters};
use crate::convert::{self, Columns, Result, int, micros};

macro_rules! with_call {
    ($entries:literal, $call:literal, $rest:literal) => {
        concat!(
            "SELECT e.tenant_id, e.batch_id, e.seq, e.phone, e.number_key, e.timezone,
                    e.variables, e.planned, e.state, e.outcome, e.attempt, e.not_before, e.deadline, e.cap, e.lease_epoch,
                    c.attempt, c.status, c.due_at, c.leased_at, c.dispatch_id, c.dispatched_at,
                    c.claimed_at, c.claimer, c.closed_outcome, c.ended_at, c.outcome,
                    c.reason, c.duration_ms, c.beat_seq
             FROM ",
            $entries,
            " CROSS JOIN call_logs AS c
               ON c.tenant_id = e.tenant_id AND c.batch_id = e.batch_id AND c.seq = e.seq
              AND c.attempt = ",
            $call,
            " WHERE ",
            $rest
        )
    };
}

/// An entry with one of its attempts.
pub(crate) const CALL: &str =
    with_call!("batch_entries AS e", "?4", "e.tenant_id = ?1 AND e.batch_id = ?2 AND e.seq = ?3");

/// All tenants' entries whose deadline has come, with the current attempt.
pub(crate) const DUE_DEADLINES: &str = with_call!(
    "batch_entries AS e INDEXED BY batch_entries_under_way",
    "e.attempt",
    "e.deadline <= ?1 ORDER BY e.deadline, e.batch_id, e.seq LIMIT ?2"
);

/// The next deadline after `?1`.
pub(crate) const NEXT_DEADLINE: &str = "
    SELECT min(deadline) FROM batch_entries INDEXED BY batch_entries_under_way
    WHERE deadline > ?1";

/// A page of a batch, by place.
pub(crate) const PAGE: &str = "
    SELECT tenant_id, batch_id, seq, phone, number_key, timezone, variables, planned, state,
           outcome, attempt, not_before, deadline, cap, lease_epoch
    FROM batch_entries
    WHERE tenant_id = ?1 AND batch_id = ?2 AND seq >= ?3
    ORDER BY seq LIMIT ?4";

/// A stretch of a batch, by place, of which only some entries are wanted.
pub(crate) const FIND: &str = "
    SELECT tenant_id, batch_id, seq, phone, number_key, timezone, variables, planned, state,
           outcome, attempt, not_before, deadline, cap, lease_epoch
    FROM batch_entries
    WHERE tenant_id = ?1 AND batch_id = ?2 AND seq > ?3 AND seq <= ?4
      AND (?5 IS NULL OR state = ?5) AND (?6 IS NULL OR outcome = ?6)
    ORDER BY seq LIMIT ?7";

/// Entries of one batch that wait for a claim, earliest first.
pub(crate) const WAITING: &str = "
    SELECT tenant_id, batch_id, seq, phone, number_key, timezone, variables, planned, state,
           outcome, attempt, not_before, deadline, cap, lease_epoch
    FROM batch_entries INDEXED BY batch_entries_waiting
    WHERE tenant_id = ?1 AND batch_id = ?2 AND not_before IS NOT NULL
    ORDER BY not_before, seq LIMIT ?3";

/// Entries of one batch with an attempt under way, with that attempt. The index holds
/// those of all batches, which are as many as there are calls.
pub(crate) const UNDER_WAY: &str = with_call!(
    "batch_entries AS e INDEXED BY batch_entries_under_way",
    "e.attempt",
    "e.tenant_id = ?1 AND e.batch_id = ?2 AND e.deadline IS NOT NULL ORDER BY e.seq"
);

/// Due entries of one batch, earliest first.
pub(crate) const DUE: &str = "
    SELECT tenant_id, batch_id, seq, phone, number_key, timezone, variables, planned, state,
           outcome, attempt, not_before, deadline, cap, lease_epoch
    FROM batch_entries INDEXED BY batch_entries_waiting
    WHERE tenant_id = ?1 AND batch_id = ?2 AND not_before <= ?3
    ORDER BY not_before, seq LIMIT ?4";

fn row(columns: &mut Columns<'_>) -> rusqlite::Result<EntryRow> {
    Ok(EntryRow {
        tenant: TenantId::new(columns.take::<String>()?),
        key: EntryKey { batch: BatchId::new(columns.take::<String>()?), seq: columns.take()? },
        to: columns.text(Phone::parse)?,
        number: NumberKey::from_bytes(columns.take()?),
        timezone: columns.take()?,
        variables: columns.take()?,
        planned: columns.maybe_name()?,
        state: columns.name()?,
        outcome: columns.maybe_name()?,
        attempt: columns.take()?,
        not_before: columns.maybe_at()?,
        deadline: columns.maybe_at()?,
        cap: columns.maybe_at()?,
        lease_epoch: columns.u64()?,
    })
}

fn row_with_call(row: &Row<'_>) -> rusqlite::Result<(EntryRow, CallRow)> {
    let mut columns = Columns::of(row);
    Ok((self::row(&mut columns)?, calls::row(&mut columns)?))
}

/// Adds entries that are not there yet, and counts them.
pub(crate) fn add(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
    entries: &[NewEntry],
) -> Result<()> {
    let sql = "INSERT INTO batch_entries
                   (tenant_id, batch_id, seq, phone, number_key, timezone, variables, planned,
                    state, not_before)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (batch_id, seq) DO NOTHING";
    let mut statement = connection.prepare_cached(sql)?;
    let mut added = 0;
    for new in entries {
        added += statement.execute(params![
            tenant.as_str(),
            batch.as_str(),
            new.seq,
            new.to.expose(),
            new.number.as_bytes(),
            new.timezone,
            new.variables,
            new.planned.map(PlannedOutcome::as_str),
            EntryState::Pending.as_str(),
            new.not_before.as_micros(),
        ])?;
    }
    let mut moves = counters::Moves::default();
    moves.enter((EntryState::Pending, None), i64::try_from(added).unwrap_or(i64::MAX));
    moves.write(connection, tenant, batch)
}

/// Moves an entry if it is where the change expects it. One row is the only yes.
pub(crate) fn compare_and_swap(connection: &Connection, change: &Transition) -> Result<bool> {
    let sql = "UPDATE batch_entries
               SET state = ?7, outcome = ?8, attempt = ?9, not_before = ?10, deadline = ?11,
                   cap = ?12
               WHERE tenant_id = ?1 AND batch_id = ?2 AND seq = ?3
                 AND state = ?4 AND attempt = ?5 AND (?6 IS NULL OR lease_epoch = ?6)
                 AND (?13 IS NULL OR deadline = ?13)
                 AND (?14 IS NULL OR EXISTS
                      (SELECT 1 FROM voice_call_batches AS b
                       WHERE b.tenant_id = ?1 AND b.batch_id = ?2
                         AND instr(?14, b.state)))";
    let moved = connection.prepare_cached(sql)?.execute(params![
        change.tenant.as_str(),
        change.key.batch.as_str(),
        change.key.seq,
        change.from.as_str(),
        change.attempt,
        change.lease_epoch.map(int).transpose()?,
        change.to.as_str(),
        change.outcome.map(Outcome::as_str),
        change.new_attempt,
        micros(change.not_before),
        micros(change.deadline),
        micros(change.cap),
        micros(change.deadline_seen),
        change.batch_in.map(convert::states),
    ])?;
    Ok(moved == 1)
}

/// Removes the entries of a batch that is still loading.
pub(crate) fn remove_all(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<()> {
    let sql = "DELETE FROM batch_entries WHERE tenant_id = ?1 AND batch_id = ?2";
    connection.prepare_cached(sql)?.execute(params![tenant.as_str(), batch.as_str()])?;
    Ok(())
}

/// Shows due entries, the earliest first, until `take` wants no more. It must not write to
/// the entries: they are still being read.
pub(crate) fn each_due(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
    now: Timestamp,
    limit: u32,
    mut take: impl FnMut(EntryRow) -> Result<bool>,
) -> Result<()> {
    let mut statement = connection.prepare_cached(DUE)?;
    let values = params![tenant.as_str(), batch.as_str(), now.as_micros(), limit];
    for entry in statement.query_map(values, |row| self::row(&mut Columns::of(row)))? {
        if !take(entry?)? {
            break;
        }
    }
    Ok(())
}

pub(crate) fn waiting(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
    limit: u32,
) -> Result<Vec<EntryRow>> {
    let mut statement = connection.prepare_cached(WAITING)?;
    let values = params![tenant.as_str(), batch.as_str(), limit];
    let rows = statement.query_map(values, |row| self::row(&mut Columns::of(row)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn under_way(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<Vec<(EntryRow, CallRow)>> {
    let mut statement = connection.prepare_cached(UNDER_WAY)?;
    let rows = statement.query_map([tenant.as_str(), batch.as_str()], row_with_call)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Leases an entry as `after` says, if it is still as `before`.
pub(crate) fn lease(connection: &Connection, before: &EntryRow, after: &EntryRow) -> Result<bool> {
    let sql = "UPDATE batch_entries
               SET state = ?6, outcome = NULL, attempt = ?7, not_before = NULL, deadline = ?8,
                   cap = NULL, lease_epoch = ?9
               WHERE tenant_id = ?1 AND batch_id = ?2 AND seq = ?3
                 AND state = ?4 AND attempt = ?5";
    let leased = connection.prepare_cached(sql)?.execute(params![
        before.tenant.as_str(),
        before.key.batch.as_str(),
        before.key.seq,
        before.state.as_str(),
        before.attempt,
        after.state.as_str(),
        after.attempt,
        micros(after.deadline),
        int(after.lease_epoch)?,
    ])?;
    Ok(leased == 1)
}

pub(crate) fn call(
    connection: &Connection,
    tenant: &TenantId,
    key: &EntryKey,
    attempt: u32,
) -> Result<Option<(EntryRow, CallRow)>> {
    let values = params![tenant.as_str(), key.batch.as_str(), key.seq, attempt];
    Ok(connection.prepare_cached(CALL)?.query_row(values, row_with_call).optional()?)
}

pub(crate) fn page(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
    after: u32,
    limit: u32,
) -> Result<Vec<(EntryRow, Vec<CallRow>)>> {
    let mut statement = connection.prepare_cached(PAGE)?;
    let values = params![tenant.as_str(), batch.as_str(), after.saturating_add(1), limit];
    let rows =
        statement.query_map(values, |row| Ok((self::row(&mut Columns::of(row))?, Vec::new())))?;
    let mut page: Vec<(EntryRow, Vec<CallRow>)> = rows.collect::<rusqlite::Result<_>>()?;
    let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(page) };
    let (first, last) = (first.0.key.seq, last.0.key.seq);
    let mut calls = calls::of(connection, tenant, batch, first, last)?.into_iter().peekable();
    for (entry, own) in &mut page {
        while let Some((_, call)) = calls.next_if(|(seq, _)| *seq == entry.key.seq) {
            own.push(call);
        }
    }
    Ok(page)
}

/// The wanted entries of a stretch, each with its attempts.
pub(crate) fn find(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
    filter: EntryFilter,
    within: RangeInclusive<u32>,
    limit: u32,
) -> Result<Vec<(EntryRow, Vec<CallRow>)>> {
    let mut statement = connection.prepare_cached(FIND)?;
    let values = params![
        tenant.as_str(),
        batch.as_str(),
        within.start(),
        within.end(),
        filter.state.map(EntryState::as_str),
        filter.outcome.map(Outcome::as_str),
        limit
    ];
    let rows = statement.query_map(values, |row| self::row(&mut Columns::of(row)))?;
    rows.map(|entry| {
        let entry = entry?;
        // Entry by entry: those between are not wanted, nor are their attempts.
        let seq = entry.key.seq;
        let calls = calls::of(connection, tenant, batch, seq, seq)?;
        Ok((entry, calls.into_iter().map(|(_, call)| call).collect()))
    })
    .collect()
}

pub(crate) fn due_deadlines(
    connection: &Connection,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<(EntryRow, CallRow)>> {
    let mut statement = connection.prepare_cached(DUE_DEADLINES)?;
    let rows = statement.query_map(params![now.as_micros(), limit], row_with_call)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn next_deadline(connection: &Connection, now: Timestamp) -> Result<Option<Timestamp>> {
    let mut statement = connection.prepare_cached(NEXT_DEADLINE)?;
    Ok(statement.query_row([now.as_micros()], |row| Columns::of(row).maybe_at())?)
}
