//! Opening a database: what is refused, and why.

use dialtone_auth::Secret;
use tokio_postgres::error::SqlState;

use crate::fault::{Fault, said};
use crate::session::Session;
use crate::target::Target;

/// The oldest server that is supported, as `server_version_num` counts.
const OLDEST: i32 = 140_000;

/// Where the store is.
#[derive(Clone, Debug)]
pub struct Options {
    /// `postgres://user:password@host:port/database`.
    pub url: Secret,
    /// The schema that holds the tables; made if it does not exist. Lower-case letters,
    /// digits and underscores.
    pub schema: String,
}

impl Options {
    /// The schema unless another is named.
    pub const SCHEMA: &'static str = "dialtone";

    /// The store in schema [`Self::SCHEMA`] of the database at `url`.
    pub fn at(url: Secret) -> Self {
        Self { url, schema: Self::SCHEMA.to_owned() }
    }

    /// Whether URL and schema can be used, as far as that shows without asking the database.
    ///
    /// # Errors
    /// If they cannot.
    pub fn check(&self) -> Result<(), OpenError> {
        Target::parse(&self.url, &self.schema).map(drop)
    }

    /// Where the store is, without a password.
    pub fn place(&self) -> String {
        match Target::parse(&self.url, &self.schema) {
            Ok(target) => format!("schema {} of {target}", target.schema()),
            Err(error) => error.to_string(),
        }
    }
}

/// Why a database cannot be opened. No message has a password in it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL cannot be read.
    #[error(
        "the database URL (DATABASE_URL) cannot be used: {detail}; \
         write postgres://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    Url {
        /// What is wrong with it.
        detail: String,
    },
    /// The URL asks for TLS.
    #[error(
        "the database URL (DATABASE_URL) asks for sslmode=require, and this version speaks no TLS to a \
         database; use a local database or a tunnel, and sslmode=disable"
    )]
    Tls,
    /// A schema's name that is none.
    #[error("`{name}` is no name for a schema; use lower-case letters, digits and underscores")]
    Schema {
        /// The name.
        name: String,
    },
    /// Nobody answers.
    #[error("cannot reach the database at {place}: {detail}; is PostgreSQL running there?")]
    Unreachable {
        /// Where it should be.
        place: String,
        /// What the system said.
        detail: String,
    },
    /// The server lets this user not in.
    #[error("the database at {place} refuses user `{user}`: {detail}; check user and password")]
    Refused {
        /// Where it is.
        place: String,
        /// Who asked.
        user: String,
        /// What the server said.
        detail: String,
    },
    /// The server has no such database.
    #[error("there is no database `{database}` at {place}; make it with `createdb {database}`")]
    NoDatabase {
        /// Where the server is.
        place: String,
        /// What was asked for.
        database: String,
    },
    /// The server is too old, cannot be written to, or keeps no UTF-8.
    #[error("the database at {place} cannot be used: {detail}")]
    Unusable {
        /// Where it is.
        place: String,
        /// What it lacks, and what to do.
        detail: String,
    },
    /// The schema holds tables of another program.
    #[error(
        "schema `{schema}` of {place} holds tables that are not Dialtone's; \
         choose another schema (nothing was touched)"
    )]
    Foreign {
        /// Where it is.
        place: String,
        /// The schema.
        schema: String,
    },
    /// There is no store to look at.
    #[error(
        "schema `{schema}` of {place} holds no Dialtone store; \
         start a server on this database first"
    )]
    Missing {
        /// Where it is.
        place: String,
        /// The schema.
        schema: String,
    },
    /// A newer version of this program wrote the schema; it was not touched.
    #[error(
        "schema `{schema}` of {place} has version {found}, this program knows up to {known}; \
         use the newer program (nothing was touched)"
    )]
    Newer {
        /// Where it is.
        place: String,
        /// The schema.
        schema: String,
        /// Its version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// An older version wrote the schema, and this command does not migrate.
    #[error(
        "schema `{schema}` of {place} has version {found}, this program needs {known}; \
         start a server of this version, which migrates it"
    )]
    Older {
        /// Where it is.
        place: String,
        /// The schema.
        schema: String,
        /// Its version.
        found: i64,
        /// The version known here.
        known: i64,
    },
    /// PostgreSQL refuses.
    #[error("the database at {place} refuses: {detail}; see the log of the database server")]
    Postgres {
        /// Where it is.
        place: String,
        /// What it said.
        detail: String,
    },
}

/// Connects to see that the database is there and can be used.
pub(crate) async fn first_session(target: &Target) -> Result<Session, OpenError> {
    let session = Session::connect(target).await.map_err(|error| refused(target, &error))?;
    const SQL: &str = "
        SELECT current_setting('server_version_num')::int, current_setting('server_version'),
               pg_is_in_recovery() OR current_setting('transaction_read_only')::bool,
               current_setting('server_encoding'), current_setting('fsync')::bool";
    let row = session.ask_one(SQL, &[]).await.map_err(|fault| failed(target, &fault))?;
    let unreadable = |error: tokio_postgres::Error| failed(target, &Fault::from(error));
    let Some(row) = row else { return Ok(session) };
    let (number, version): (i32, String) =
        (row.try_get(0).map_err(unreadable)?, row.try_get(1).map_err(unreadable)?);
    let unusable = |detail| Err(OpenError::Unusable { place: target.to_string(), detail });
    if number < OLDEST {
        let oldest = OLDEST / 10_000;
        return unusable(format!("it is PostgreSQL {version}; {oldest} or newer is needed"));
    }
    if row.try_get(2).map_err(unreadable)? {
        return unusable("it is a standby, or read only; name the primary".to_owned());
    }
    let encoding: String = row.try_get(3).map_err(unreadable)?;
    if encoding != "UTF8" {
        let how = "make one with `createdb --encoding UTF8 --template template0`";
        return unusable(format!("its encoding is {encoding}, not UTF8; {how}"));
    }
    if !row.try_get::<_, bool>(4).map_err(unreadable)? {
        tracing::warn!(
            place = %target,
            "the database runs with fsync off: a power cut loses what was acknowledged"
        );
    }
    Ok(session)
}

/// What the server said to a connection.
pub(crate) fn refused(target: &Target, error: &tokio_postgres::Error) -> OpenError {
    let (place, detail) = (target.to_string(), said(error));
    let user = target.user().to_owned();
    let Some(state) = error.code() else {
        // Neither a server's word nor the system's: the password that it asks for is missing.
        let missing = detail.contains("password missing");
        return match missing {
            true => OpenError::Refused { place, user, detail: "it asks for a password".to_owned() },
            false => OpenError::Unreachable { place, detail },
        };
    };
    if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].contains(state) {
        return OpenError::Refused { place, user, detail };
    }
    if *state == SqlState::INVALID_CATALOG_NAME {
        return OpenError::NoDatabase { place, database: target.database().to_owned() };
    }
    OpenError::Postgres { place, detail }
}

/// What failed on a connection that stands.
pub(crate) fn failed(target: &Target, fault: &Fault) -> OpenError {
    OpenError::Postgres { place: target.to_string(), detail: fault.to_string() }
}
