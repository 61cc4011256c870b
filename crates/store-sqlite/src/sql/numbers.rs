//! `numbers`: who calls a number, and from when on it may be called again.

use dialtone_auth::NumberKey;
use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, EntryKey, TenantId};
use dialtone_store::{EntryRow, Held, NumberRelease, NumberUse};
use rusqlite::{Connection, OptionalExtension, params};

use crate::convert::{Columns, Result, micros};

/// Takes the entry's number for it, or says why it cannot be taken.
pub(crate) fn hold(
    connection: &Connection,
    entry: &EntryRow,
    now: Timestamp,
) -> Result<Option<Held>> {
    // The row is taken over only from nobody.
    let sql = "INSERT INTO numbers (tenant_id, number_key, batch_id, seq)
               VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (tenant_id, number_key) DO UPDATE
               SET batch_id = excluded.batch_id, seq = excluded.seq, free_at = NULL
               WHERE batch_id IS NULL AND (free_at IS NULL OR free_at <= ?5)";
    let taken = connection.prepare_cached(sql)?.execute(params![
        entry.tenant.as_str(),
        entry.number.as_bytes(),
        entry.key.batch.as_str(),
        entry.key.seq,
        now.as_micros(),
    ])?;
    if taken == 1 {
        return Ok(None);
    }
    let sql = "SELECT free_at FROM numbers WHERE tenant_id = ?1 AND number_key = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let values = params![entry.tenant.as_str(), entry.number.as_bytes()];
    let free_at = statement.query_row(values, |row| Columns::of(row).maybe_at()).optional()?;
    Ok(Some(Held::NumberBusy { free_at: free_at.flatten() }))
}

/// Lets go of a number that the entry holds.
pub(crate) fn release(
    connection: &Connection,
    tenant: &TenantId,
    entry: &EntryKey,
    release: &NumberRelease,
) -> Result<()> {
    let sql = match release.free_at {
        Some(_) => {
            "UPDATE numbers SET batch_id = NULL, seq = NULL, free_at = ?5
             WHERE tenant_id = ?1 AND number_key = ?2 AND batch_id = ?3 AND seq = ?4"
        }
        None => {
            "DELETE FROM numbers
             WHERE tenant_id = ?1 AND number_key = ?2 AND batch_id = ?3 AND seq = ?4
               AND ?5 IS NULL"
        }
    };
    connection.prepare_cached(sql)?.execute(params![
        tenant.as_str(),
        release.key.as_bytes(),
        entry.batch.as_str(),
        entry.seq,
        micros(release.free_at),
    ])?;
    Ok(())
}

/// What stands in the way of a call to the number.
pub(crate) fn of(
    connection: &Connection,
    tenant: &TenantId,
    number: NumberKey,
) -> Result<Option<NumberUse>> {
    let sql = "SELECT batch_id, seq, free_at FROM numbers
               WHERE tenant_id = ?1 AND number_key = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row(params![tenant.as_str(), number.as_bytes()], |row| {
        let mut columns = Columns::of(row);
        let batch: Option<String> = columns.take()?;
        let seq: Option<u32> = columns.take()?;
        let free_at = columns.maybe_at()?;
        let holder = batch.map(BatchId::new).zip(seq);
        let by = holder.map(|(batch, seq)| NumberUse::By(EntryKey { batch, seq }));
        Ok(by.or(free_at.map(NumberUse::FreeAt)))
    });
    Ok(found.optional()?.flatten())
}

/// Numbers that have been free since `?1`.
pub(crate) const FREE: &str = "
    SELECT tenant_id, number_key FROM numbers INDEXED BY numbers_free
    WHERE free_at <= ?1 LIMIT ?2";

/// Forgets numbers that have been free since `before`.
pub(crate) fn forget(connection: &Connection, before: Timestamp, limit: u32) -> Result<u32> {
    let mut statement = connection.prepare_cached(FREE)?;
    let rows = statement.query_map(params![before.as_micros(), limit], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))
    })?;
    // All of them are read before the first one goes: they are found by what is removed.
    let free: Vec<(String, Vec<u8>)> = rows.collect::<rusqlite::Result<_>>()?;
    let sql = "DELETE FROM numbers WHERE tenant_id = ?1 AND number_key = ?2";
    let mut remove = connection.prepare_cached(sql)?;
    let mut forgotten = 0;
    for (tenant, number) in free {
        forgotten += remove.execute(params![tenant, number])?;
    }
    Ok(u32::try_from(forgotten).unwrap_or(u32::MAX))
}
