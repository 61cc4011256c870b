//! Numbered migrations, append-only: `dialtone_meta` says how many have been applied.

use crate::OpenError;
use crate::fault::{Fault, Result};
use crate::open::failed;
use crate::session::Session;
use crate::target::Target;

/// In order. One that has been released is never edited.
const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_init.sql")];

/// First half of the key of the lock under which a schema is migrated; the second is made
/// from the schema's name ("DIAL").
const LOCK: i32 = 0x4449_414c;

/// The version that this program writes.
pub(crate) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("migrations are few")
}

/// What stands in the schema.
enum Found {
    /// No table at all.
    Nothing,
    Version(i64),
    /// Tables of somebody else.
    Foreign,
}

/// Brings the schema to [`known`], in one transaction: other servers that start at the same
/// time wait, and find it done.
pub(crate) async fn migrate(
    session: &Session,
    target: &Target,
) -> std::result::Result<(), OpenError> {
    // Looked at first without a lock, so that what is refused is not even waited for.
    if refuse(target, &find(session, target).await.map_err(|f| failed(target, &f))?)? {
        return Ok(());
    }
    session.begin().await.map_err(|fault| failed(target, &fault))?;
    let done = locked(session, target).await;
    let refused = match &done {
        Ok(found) => refuse(target, found).err(),
        Err(_) => None,
    };
    session.end(done).await.map_err(|ended| failed(target, &ended.fault))?;
    refused.map_or(Ok(()), Err)
}

/// As [`migrate`], for who may not change anything.
pub(crate) async fn check(
    session: &Session,
    target: &Target,
) -> std::result::Result<(), OpenError> {
    let found = find(session, target).await.map_err(|fault| failed(target, &fault))?;
    let (place, schema, known) = (target.to_string(), target.schema().to_owned(), known());
    match found {
        Found::Nothing => Err(OpenError::Missing { place, schema }),
        Found::Version(found) if found < known => {
            Err(OpenError::Older { place, schema, found, known })
        }
        other => refuse(target, &other).map(drop),
    }
}

/// Whether nothing is left to do.
fn refuse(target: &Target, found: &Found) -> std::result::Result<bool, OpenError> {
    let (place, schema, known) = (target.to_string(), target.schema().to_owned(), known());
    match found {
        Found::Nothing => Ok(false),
        Found::Foreign => Err(OpenError::Foreign { place, schema }),
        Found::Version(found) if *found > known => {
            Err(OpenError::Newer { place, schema, found: *found, known })
        }
        Found::Version(found) => Ok(*found == known),
    }
}

/// Applies what is missing under the lock; what was found there.
async fn locked(session: &Session, target: &Target) -> Result<Found> {
    // Others may be at it for longer than a lock is waited for otherwise.
    session.script("SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = 0").await?;
    session
        .ask("SELECT pg_advisory_xact_lock($1, hashtext($2))", &[&LOCK, &target.schema()])
        .await?;
    let found = find(session, target).await?;
    let from = match found {
        Found::Nothing => 0,
        Found::Version(version) => usize::try_from(version).unwrap_or(usize::MAX),
        Found::Foreign => return Ok(found),
    };
    let missing = MIGRATIONS.get(from..).unwrap_or_default();
    if missing.is_empty() {
        return Ok(found);
    }
    session.script(&format!("CREATE SCHEMA IF NOT EXISTS {}", target.quoted_schema())).await?;
    for migration in missing {
        session.script(migration).await?;
    }
    let sql = "INSERT INTO dialtone_meta (name, value) VALUES ('schema_version', $1)
               ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    session.run(sql, &[&known()]).await?;
    Ok(Found::Version(known()))
}

async fn find(session: &Session, target: &Target) -> Result<Found> {
    let sql = "SELECT count(*), count(*) FILTER (WHERE c.relname = 'dialtone_meta')
               FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
               WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')";
    let row = session.ask_one(sql, &[&target.schema()]).await?;
    let counts = row.map(|row| (row.get::<_, i64>(0), row.get::<_, i64>(1))).unwrap_or_default();
    match counts {
        (0, _) => Ok(Found::Nothing),
        (_, 0) => Ok(Found::Foreign),
        _ => version(session).await,
    }
}

async fn version(session: &Session) -> Result<Found> {
    let sql = "SELECT value FROM dialtone_meta WHERE name = 'schema_version'";
    match session.ask_one(sql, &[]).await {
        Ok(Some(row)) => Ok(Found::Version(row.try_get(0).map_err(Fault::from)?)),
        Ok(None) => Ok(Found::Foreign),
        Err(fault) => Err(fault),
    }
}
