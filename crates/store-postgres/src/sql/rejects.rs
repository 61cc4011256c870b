//! `batch_rejects`: rows of an upload that became no entries.

use dialtone_contract::{BatchId, FieldError, TenantId};

use crate::convert::{Columns, count, name, prose};
use crate::fault::Result;
use crate::session::Session;

/// Adds rows that are not there yet, and counts them.
pub(crate) async fn add(
    session: &Session,
    tenant: &TenantId,
    batch: &BatchId,
    rejects: &[FieldError],
) -> Result<()> {
    let sql = "INSERT INTO batch_rejects (tenant_id, batch_id, row, pointer, code, detail)
               SELECT $1, $2, i.row, i.pointer, i.code, i.detail
               FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[])
                    AS i (row, pointer, code, detail)
               ON CONFLICT DO NOTHING";
    let rows: Vec<i64> = rejects.iter().map(|r| i64::from(r.row.unwrap_or_default())).collect();
    let texts = |of: fn(&FieldError) -> &str| rejects.iter().map(|r| prose(of(r))).collect();
    let [pointers, codes, details]: [Vec<_>; 3] =
        [texts(|r| &r.pointer), texts(|r| &r.code), texts(|r| &r.detail)];
    let (tenant, batch) = (tenant.as_str(), batch.as_str());
    let added = session.run(sql, &[&tenant, &batch, &rows, &pointers, &codes, &details]).await?;
    let sql = "UPDATE voice_call_batches SET rejected = rejected + $3
               WHERE tenant_id = $1 AND batch_id = $2";
    let added = count(usize::try_from(added).unwrap_or(usize::MAX));
    session.run(sql, &[&tenant, &batch, &added]).await.map(drop)
}

/// Rows after `after`, in order.
pub(crate) async fn page(
    session: &Session,
    tenant: &TenantId,
    batch: &BatchId,
    after: u32,
    limit: u32,
) -> Result<Vec<FieldError>> {
    let sql = "SELECT row, pointer, code, detail FROM batch_rejects
               WHERE tenant_id = $1 AND batch_id = $2 AND row > $3 ORDER BY row LIMIT $4";
    let (after, limit) = (i64::from(after), i64::from(limit));
    let rows = session.ask(sql, &[&tenant.as_str(), &name(batch.as_str()), &after, &limit]).await?;
    let read = |row| {
        let mut columns = Columns::of(row);
        Ok(FieldError {
            row: Some(columns.u32()?),
            pointer: columns.take()?,
            code: columns.take()?,
            detail: columns.take()?,
        })
    };
    rows.iter().map(read).collect()
}

/// Removes the rows of a batch that is still loading.
pub(crate) async fn remove_all(
    session: &Session,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<()> {
    let sql = "DELETE FROM batch_rejects WHERE tenant_id = $1 AND batch_id = $2";
    session.run(sql, &[&tenant.as_str(), &batch.as_str()]).await.map(drop)
}
