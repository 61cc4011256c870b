//! `meta`: single numbers.

use rusqlite::Connection;

use crate::convert::{Columns, Result};

/// A lease epoch higher than any before it.
pub(crate) fn next_epoch(connection: &Connection) -> Result<u64> {
    let sql = "INSERT INTO meta (name, value) VALUES ('lease_epoch', 1)
               ON CONFLICT (name) DO UPDATE SET value = value + 1
               RETURNING value";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| Columns::of(row).u64())?)
}
