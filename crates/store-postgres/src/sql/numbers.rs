//! `numbers`: who calls a number, and from when on it may be called again.

use std::collections::{BTreeMap, BTreeSet};

use dialtone_auth::NumberKey;
use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, EntryKey, TenantId};
use dialtone_store::{ClaimDue, EntryRow, Held, NumberUse, Transition};

use crate::convert::{Columns, micros, name};
use crate::fault::{Ended, Result};
use crate::session::{Session, Values};

/// Takes numbers for entries, in the order of their keys; gives those that were taken. A
/// row is taken over only from nobody.
pub(crate) const HOLD: &str = "
    INSERT INTO numbers AS n (tenant_id, number_key, batch_id, seq)
    SELECT $1, i.key, $2, i.seq FROM unnest($3::bytea[], $4::bigint[]) AS i (key, seq)
    ORDER BY i.key
    ON CONFLICT (tenant_id, number_key) DO UPDATE
    SET batch_id = excluded.batch_id, seq = excluded.seq, free_at = NULL
    WHERE n.batch_id IS NULL AND (n.free_at IS NULL OR n.free_at <= $5)
    RETURNING n.number_key";

/// From when on numbers are free.
pub(crate) const FREE_AT: &str = "
    SELECT n.number_key, n.free_at FROM unnest($2::bytea[]) AS i (key)
    JOIN numbers AS n ON n.tenant_id = $1 AND n.number_key = i.key";

/// Takes each entry's number for it, or says why it cannot be taken. Of several entries with
/// one number the first gets it.
pub(crate) async fn hold(
    session: &Session,
    claim: &ClaimDue,
    entries: &[&EntryRow],
) -> Result<Vec<Option<Held>>> {
    let mut first: BTreeMap<NumberKey, u32> = BTreeMap::new();
    for entry in entries {
        first.entry(entry.number).or_insert(entry.key.seq);
    }
    let tenant = claim.tenant.as_str();
    let keys: Vec<&[u8]> = first.keys().map(|key| key.as_bytes().as_slice()).collect();
    let seqs: Vec<i64> = first.values().map(|seq| i64::from(*seq)).collect();
    let now = claim.now.as_micros();
    let values: Values<'_> = &[&tenant, &claim.batch.as_str(), &keys, &seqs, &now];
    let rows = session.ask(HOLD, values).await?;
    let key = |row| Ok(NumberKey::from_bytes(Columns::of(row).bytes()?));
    let taken: BTreeSet<NumberKey> = rows.iter().map(key).collect::<Result<_>>()?;
    let busy: Vec<&[u8]> =
        first.keys().filter(|key| !taken.contains(key)).map(|key| &key.as_bytes()[..]).collect();
    let mut free_at = BTreeMap::new();
    if !busy.is_empty() {
        for row in session.ask(FREE_AT, &[&tenant, &busy]).await? {
            let mut columns = Columns::of(&row);
            free_at.insert(NumberKey::from_bytes(columns.bytes()?), columns.maybe_at()?);
        }
    }
    let answer = |entry: &&EntryRow| {
        let own = first.get(&entry.number) == Some(&entry.key.seq);
        let free_at = free_at.get(&entry.number).copied().flatten();
        (!(own && taken.contains(&entry.number))).then_some(Held::NumberBusy { free_at })
    };
    Ok(entries.iter().map(answer).collect())
}

/// Numbers that are let go of. Each entry holds one at most, so its first word counts.
#[derive(Default)]
pub(crate) struct Releases<'a>(BTreeMap<(&'a TenantId, NumberKey, &'a str, i64), Option<i64>>);

/// Lets go of numbers that their entries hold, in the order of their keys: locked first,
/// because an update has no order.
pub(crate) const RELEASE: &str = "
    WITH mine AS MATERIALIZED (
        SELECT n.tenant_id, n.number_key, i.free_at
        FROM unnest($1::text[], $2::bytea[], $3::text[], $4::bigint[], $5::bigint[])
             AS i (tenant_id, number_key, batch_id, seq, free_at)
        JOIN numbers AS n ON n.tenant_id = i.tenant_id AND n.number_key = i.number_key
                         AND n.batch_id = i.batch_id AND n.seq = i.seq
        ORDER BY n.tenant_id, n.number_key
        FOR UPDATE OF n),
    kept AS (
        UPDATE numbers AS n SET batch_id = NULL, seq = NULL, free_at = mine.free_at
        FROM mine
        WHERE n.tenant_id = mine.tenant_id AND n.number_key = mine.number_key
          AND mine.free_at IS NOT NULL)
    DELETE FROM numbers AS n USING mine
    WHERE n.tenant_id = mine.tenant_id AND n.number_key = mine.number_key
      AND mine.free_at IS NULL";

impl<'a> Releases<'a> {
    pub(crate) fn add(&mut self, change: &'a Transition) {
        if let Some(release) = &change.number {
            let holder = (change.key.batch.as_str(), i64::from(change.key.seq));
            let key = (&change.tenant, release.key, holder.0, holder.1);
            self.0.entry(key).or_insert_with(|| micros(release.free_at));
        }
    }

    /// Nothing is sent if there is nothing to let go of.
    pub(crate) async fn write(&self, session: &Session) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let release = session.statement(RELEASE).await?;
        let tenants: Vec<&str> = self.0.keys().map(|(tenant, ..)| tenant.as_str()).collect();
        let numbers: Vec<&[u8]> =
            self.0.keys().map(|(_, number, ..)| number.as_bytes().as_slice()).collect();
        let batches: Vec<&str> = self.0.keys().map(|(_, _, batch, _)| name(batch)).collect();
        let seqs: Vec<i64> = self.0.keys().map(|(.., seq)| *seq).collect();
        let free_at: Vec<Option<i64>> = self.0.values().copied().collect();
        let values: Values<'_> = &[&tenants, &numbers, &batches, &seqs, &free_at];
        session.touch(&release, values).await.map(drop)
    }
}

/// What stands in the way of a call to the number.
pub(crate) async fn of(
    session: &Session,
    tenant: &TenantId,
    number: NumberKey,
) -> Result<Option<NumberUse>> {
    let sql = "SELECT batch_id, seq, free_at FROM numbers
               WHERE tenant_id = $1 AND number_key = $2";
    let found = session.ask_one(sql, &[&tenant.as_str(), &number.as_bytes().as_slice()]).await?;
    let Some(row) = found else { return Ok(None) };
    let mut columns = Columns::of(&row);
    let batch: Option<String> = columns.take()?;
    let holder = batch.map(BatchId::new).zip(columns.maybe_u32()?);
    let by = holder.map(|(batch, seq)| NumberUse::By(EntryKey { batch, seq }));
    Ok(by.or(columns.maybe_at()?.map(NumberUse::FreeAt)))
}

/// Forgets numbers that are free. What a claim takes in this moment is left to it.
pub(crate) const FORGET: &str = "
    WITH free AS MATERIALIZED (
        SELECT tenant_id, number_key FROM numbers
        WHERE free_at <= $1 ORDER BY free_at LIMIT $2
        FOR UPDATE SKIP LOCKED)
    DELETE FROM numbers AS n USING free
    WHERE n.tenant_id = free.tenant_id AND n.number_key = free.number_key";

/// Forgets numbers that have been free since `before`.
pub(crate) async fn forget(session: &Session, before: Timestamp, limit: u32) -> Ended<u32> {
    let forgotten = session.write(FORGET, &[&before.as_micros(), &i64::from(limit)]).await?;
    Ok(u32::try_from(forgotten).unwrap_or(u32::MAX))
}
