//! Opening a data directory: checks first, then the lock, then the file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dialtone_clock::Clock;
use rusqlite::config::DbConfig;
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::migrate;

/// The database inside the data directory.
pub const DB_FILE: &str = "dialtone.db";
/// What a server locks inside the data directory; holds its pid.
pub const LOCK_FILE: &str = "dialtone.lock";

/// How long a statement waits for a lock. Only backups, other outside tools and the small
/// writes of the commands that run beside a server ever hold one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements kept prepared on each connection: more than there are.
const STATEMENTS: usize = 64;
/// Page size of a new database, in bytes: a commit writes neighbouring rows, and fewer pages
/// cost less than the bytes that they have more.
const PAGE_BYTES: i64 = 8192;
/// Page cache of the connection that writes, in KiB (SQLite counts it as a negative number).
const WRITER_CACHE_KIB: i64 = -16 * 1024;
/// Page cache of one that reads: each commit makes it void.
const READER_CACHE_KIB: i64 = -2 * 1024;
/// What the write-ahead log is cut to after a checkpoint, in bytes.
const WAL_KEEP: i64 = 64 * 1024 * 1024;

/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or a file in it cannot be made, read or written.
    #[error("cannot use `{path}`: {source}; choose a data directory that this user can write")]
    Directory {
        /// What was tried.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Another server owns the directory.
    #[error(
        "the data directory `{path}` is in use by {}; stop it or choose another directory",
        owner(*pid)
    )]
    Busy {
        /// The directory.
        path: PathBuf,
        /// The owner; `None` if it has not written its pid.
        pid: Option<u32>,
    },
    /// There is no database to read.
    #[error("there is no database at `{path}`; start a server on this data directory first")]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file is no SQLite database, or is damaged.
    #[error("`{path}` cannot be read as a database: {detail}; restore a backup or move it away")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The file is a database of another program.
    #[error("`{path}` is a database of another program; choose another data directory")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of this program wrote the file; it was not touched.
    #[error(
        "`{path}` has schema {found}, this program knows up to {known}; use the newer program \
         (the file was not touched)"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i32,
        /// The newest schema known here.
        known: i32,
    },
    /// SQLite refuses.
    #[error("cannot open the database `{path}`: {source}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// What SQLite said while opening `path`.
pub(crate) fn refused(path: &Path, source: rusqlite::Error) -> OpenError {
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            OpenError::Corrupt { path: path.to_owned(), detail: source.to_string() }
        }
        _ => OpenError::Sqlite { path: path.to_owned(), source },
    }
}

/// Makes the directory, for its owner only: the database holds phone numbers.
pub(crate) fn make_dir(dir: &Path) -> Result<(), OpenError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| OpenError::Directory { path: dir.to_owned(), source })
}

/// Makes an empty database file, for its owner only, if there is none. SQLite gives the
/// files beside it the same permissions.
pub(crate) fn make_file(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(DB_FILE);
    let failed = |source| OpenError::Directory { path: path.clone(), source };
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        // Its name must outlive a power cut as its rows do.
        Ok(_) => File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Looks at the file's first bytes, so that a file that is not ours to alter is not even
/// opened by SQLite (which may roll its log forward).
pub(crate) fn check_header(path: &Path) -> Result<(), OpenError> {
    const HEADER: usize = 100;
    let failed = |source| OpenError::Directory { path: path.to_owned(), source };
    let mut header = Vec::with_capacity(HEADER);
    let file = File::open(path).map_err(failed)?;
    file.take(HEADER as u64).read_to_end(&mut header).map_err(failed)?;
    if header.is_empty() {
        return Ok(());
    }
    if header.len() < HEADER || !header.starts_with(b"SQLite format 3\0") {
        let detail = "it does not begin like one".to_owned();
        return Err(OpenError::Corrupt { path: path.to_owned(), detail });
    }
    // Offsets of the file format: user version at 60, application id at 68.
    let number = |at: usize| {
        i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    check_schema(path, number(68), number(60))
}

fn check_schema(path: &Path, application: i32, version: i32) -> Result<(), OpenError> {
    let known = migrate::known();
    if application != migrate::APPLICATION_ID && (application, version) != (0, 0) {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    if version > known {
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known });
    }
    Ok(())
}

/// The connection that writes. There is one.
pub(crate) fn writer(path: &Path, clock: Arc<dyn Clock>) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sqlite = |source| refused(path, source);
    let mut connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    prepare(&connection, clock).map_err(sqlite)?;
    check_connection(path, &connection)?;
    // An existing database keeps its own.
    connection.pragma_update(None, "page_size", PAGE_BYTES).map_err(sqlite)?;
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(sqlite)?;
    if mode != "wal" {
        let why = "the file system cannot share memory between processes";
        let source = std::io::Error::new(std::io::ErrorKind::Unsupported, why);
        return Err(OpenError::Directory { path: path.to_owned(), source });
    }
    tune_writer(&connection).map_err(sqlite)?;
    migrate::migrate(&mut connection).map_err(sqlite)?;
    Ok(connection)
}

/// A connection that writes beside the owner's; `None` if the file has not this program's
/// schema: only an owner migrates.
pub(crate) fn second_writer(
    path: &Path,
    clock: Arc<dyn Clock>,
) -> Result<Option<Connection>, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sqlite = |source| refused(path, source);
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    prepare(&connection, clock).map_err(sqlite)?;
    check_connection(path, &connection)?;
    tune_writer(&connection).map_err(sqlite)?;
    let found: i32 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sqlite)?;
    Ok((found == migrate::known()).then_some(connection))
}

fn tune_writer(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "cache_size", WRITER_CACHE_KIB)?;
    // FULL: the log is flushed at each commit, so what was answered survives a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Else what a large savepoint keeps goes through a file, which is made each time.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_KEEP, |_| Ok(()))
}

/// A connection that can only read.
pub(crate) fn reader(path: &Path, clock: Arc<dyn Clock>) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sqlite = |source| refused(path, source);
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    prepare(&connection, clock).map_err(sqlite)?;
    connection.pragma_update(None, "cache_size", READER_CACHE_KIB).map_err(sqlite)?;
    check_connection(path, &connection)?;
    Ok(connection)
}

/// As [`check_header`], with what the log holds.
fn check_connection(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let number = |name| {
        let value = connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        value.map_err(|source| refused(path, source))
    };
    let (application, version) = (number("application_id")?, number("user_version")?);
    check_schema(path, application, version)?;
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema)";
    let in_use: bool =
        connection.query_row(sql, [], |row| row.get(0)).map_err(|e| refused(path, e))?;
    if version == 0 && in_use {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    Ok(())
}

fn prepare(connection: &Connection, clock: Arc<dyn Clock>) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // One plan per statement: without this each new value that is bound makes SQLite parse
    // and plan the statement again, which takes longer than to run it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.create_scalar_function("dt_now", 0, FunctionFlags::SQLITE_UTF8, move |_| {
        Ok(clock.now().as_micros())
    })
}
