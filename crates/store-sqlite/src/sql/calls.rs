//! `call_logs`: one row per attempt.

use dialtone_contract::{BatchId, CallState, EntryKey, Outcome, TenantId};
use dialtone_store::{CallPatch, CallRow};
use rusqlite::{Connection, params};

use crate::convert::{Columns, Result, int, micros};

/// Reads the columns that [`select!`](super::entries) puts last, or those of [`OF`].
pub(crate) fn row(columns: &mut Columns<'_>) -> rusqlite::Result<CallRow> {
    Ok(CallRow {
        attempt: columns.take()?,
        state: columns.name()?,
        due_at: columns.maybe_at()?,
        leased_at: columns.at()?,
        dispatch_id: columns.take()?,
        dispatched_at: columns.maybe_at()?,
        claimed_at: columns.maybe_at()?,
        claimer: columns.take()?,
        closed_outcome: columns.maybe_name()?,
        ended_at: columns.maybe_at()?,
        outcome: columns.maybe_name()?,
        reason: columns.take()?,
        duration_ms: columns.maybe_u64()?,
        beat_seq: columns.maybe_u64()?,
    })
}

const OF: &str = "
    SELECT seq, attempt, status, due_at, leased_at, dispatch_id, dispatched_at, claimed_at, claimer,
           closed_outcome, ended_at, outcome, reason, duration_ms, beat_seq
    FROM call_logs
    WHERE tenant_id = ?1 AND batch_id = ?2 AND seq BETWEEN ?3 AND ?4
    ORDER BY seq, attempt";

/// All attempts at the entries from `first` to `last`, each with its entry's place.
pub(crate) fn of(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
    first: u32,
    last: u32,
) -> Result<Vec<(u32, CallRow)>> {
    let mut statement = connection.prepare_cached(OF)?;
    let values = params![tenant.as_str(), batch.as_str(), first, last];
    let rows = statement.query_map(values, |row| {
        let mut columns = Columns::of(row);
        Ok((columns.take()?, self::row(&mut columns)?))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn insert(
    connection: &Connection,
    tenant: &TenantId,
    key: &EntryKey,
    call: &CallRow,
) -> Result<()> {
    // An attempt that was given back is begun again under the same number.
    let sql = "INSERT OR REPLACE INTO call_logs
                   (tenant_id, batch_id, seq, attempt, status, due_at, leased_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.prepare_cached(sql)?.execute(params![
        tenant.as_str(),
        key.batch.as_str(),
        key.seq,
        call.attempt,
        call.state.as_str(),
        micros(call.due_at),
        call.leased_at.as_micros(),
    ])?;
    Ok(())
}

/// Writes what the patch names; a call log that is not there stays so.
pub(crate) fn patch(
    connection: &Connection,
    tenant: &TenantId,
    key: &EntryKey,
    attempt: u32,
    patch: &CallPatch,
) -> Result<()> {
    if *patch == CallPatch::default() {
        return Ok(());
    }
    if patch.remove {
        let sql = "DELETE FROM call_logs
                   WHERE tenant_id = ?1 AND batch_id = ?2 AND seq = ?3 AND attempt = ?4";
        let values = params![tenant.as_str(), key.batch.as_str(), key.seq, attempt];
        connection.prepare_cached(sql)?.execute(values)?;
        return Ok(());
    }
    let sql = "UPDATE call_logs
               SET status = coalesce(?5, status),
                   dispatch_id = coalesce(?6, dispatch_id),
                   dispatched_at = coalesce(?7, dispatched_at),
                   claimed_at = coalesce(?8, claimed_at),
                   claimer = coalesce(?9, claimer),
                   closed_outcome = coalesce(?10, closed_outcome),
                   ended_at = coalesce(?11, ended_at),
                   outcome = coalesce(?12, outcome),
                   reason = coalesce(?13, reason),
                   duration_ms = coalesce(?14, duration_ms),
                   beat_seq = coalesce(?15, beat_seq)
               WHERE tenant_id = ?1 AND batch_id = ?2 AND seq = ?3 AND attempt = ?4";
    connection.prepare_cached(sql)?.execute(params![
        tenant.as_str(),
        key.batch.as_str(),
        key.seq,
        attempt,
        patch.state.map(CallState::as_str),
        patch.dispatch_id,
        micros(patch.dispatched_at),
        micros(patch.claimed_at),
        patch.claimer,
        patch.closed_outcome.map(Outcome::as_str),
        micros(patch.ended_at),
        patch.outcome.map(Outcome::as_str),
        patch.reason,
        patch.duration_ms.map(int).transpose()?,
        patch.beat_seq.map(int).transpose()?,
    ])?;
    Ok(())
}
