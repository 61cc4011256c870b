//! `dialtone_meta`: single numbers.

use crate::convert::Columns;
use crate::fault::{Ended, Fault};
use crate::session::Session;

/// A lease epoch higher than any before it.
pub(crate) async fn next_epoch(session: &Session) -> Ended<u64> {
    let sql = "INSERT INTO dialtone_meta AS m (name, value) VALUES ('lease_epoch', 1)
               ON CONFLICT (name) DO UPDATE SET value = m.value + 1
               RETURNING value";
    let rows = session.write_rows(sql, &[]).await?;
    let row = rows.first().ok_or_else(|| Fault::Impossible("no epoch was given".to_owned()))?;
    Ok(Columns::of(row).u64()?)
}
