//! Numbered migrations, append-only: `user_version` says how many have been applied.

use rusqlite::{Connection, TransactionBehavior};

/// Marks our files, so that another program's database is never altered ("DIAL").
pub(crate) const APPLICATION_ID: i32 = 0x4449_414c;

/// In order. One that has been released is never edited.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_init.sql"),
    include_str!("../migrations/0002_pipeline.sql"),
    include_str!("../migrations/0003_access.sql"),
    include_str!("../migrations/0004_eyes.sql"),
    include_str!("../migrations/0005_numbers.sql"),
];

/// The schema that this program writes.
pub(crate) fn known() -> i32 {
    i32::try_from(MIGRATIONS.len()).expect("migrations are few")
}

/// Applies what is missing, all in one transaction.
pub(crate) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let found: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let missing = MIGRATIONS.get(usize::try_from(found).unwrap_or(0)..).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for migration in missing {
        tx.execute_batch(migration)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", known())?;
    tx.commit()
}
