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

/// Writes the number down if there is none of the name; whether it is the one there.
pub(crate) async fn agree_on(session: &Session, name: &str, value: i64) -> Ended<bool> {
    let sql = "INSERT INTO dialtone_meta AS m (name, value) VALUES ($1, $2)
               ON CONFLICT (name) DO UPDATE SET value = m.value
               RETURNING value";
    let rows = session.write_rows(sql, &[&name, &value]).await?;
    let row = rows.first().ok_or_else(|| Fault::Impossible("no number is there".to_owned()))?;
    Ok(Columns::of(row).take::<i64>()? == value)
}
