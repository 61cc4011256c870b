//! The store that a command works with: the embedded one, or PostgreSQL where a URL is given.

use std::fmt;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use dialtone_auth::{KeyHash, Secret, env};
use dialtone_clock::Clock;
use dialtone_store::{Access, Store};
use dialtone_store_postgres::{Options, PostgresStore};
use dialtone_store_sqlite::SqliteStore;

/// Environment variable with the database's URL; with `_FILE` behind it, that of a file with it.
pub const URL_ENV: &str = "DATABASE_URL";

/// How long a batch may be loading before it is taken for one that nobody loads any more, where
/// other servers may be loading: longer than any upload may take.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Where the store is.
#[derive(clap::Args)]
pub struct Place {
    /// Folder with the embedded store, and with what a server keeps beside its store; made if it
    /// does not exist.
    #[arg(long, global = true, default_value = "data")]
    pub data_dir: PathBuf,
    /// PostgreSQL instead of the embedded store: postgres://USER:PASSWORD@HOST:PORT/DATABASE.
    /// Every user of the machine can read arguments; the variable is for passwords.
    #[arg(long, global = true, env = URL_ENV, hide_env_values = true, value_name = "URL")]
    database_url: Option<Secret>,
    /// Schema of the database that holds the tables; made if it does not exist.
    #[arg(
        long,
        global = true,
        env = "DATABASE_SCHEMA",
        default_value = Options::SCHEMA,
        value_name = "NAME"
    )]
    database_schema: String,
}

impl Place {
    /// Where in PostgreSQL the store is, if it is there.
    fn options(&self) -> anyhow::Result<Option<Options>> {
        let given = self.database_url.clone().filter(|url| !url.expose().is_empty());
        let url = match given {
            Some(url) => Some(url),
            None => env::secret(URL_ENV)?,
        };
        Ok(url.map(|url| Options { url, schema: self.database_schema.clone() }))
    }

    /// Whether what is said of the store can be used, as far as that shows without asking it.
    ///
    /// # Errors
    /// If it cannot; repeats no password.
    pub fn check(&self) -> anyhow::Result<()> {
        match self.options()? {
            Some(options) => Ok(options.check()?),
            None => Ok(()),
        }
    }

    /// Opens the store as a server.
    ///
    /// # Errors
    /// If it cannot be used, or belongs to another server that shares nothing.
    pub async fn open(&self, clock: Arc<dyn Clock>) -> anyhow::Result<Database> {
        let Some(options) = self.options()? else {
            return Ok(Database::Sqlite(Arc::new(SqliteStore::open(&self.data_dir, clock)?)));
        };
        let mut folder = std::fs::DirBuilder::new();
        folder.recursive(true).mode(0o700).create(&self.data_dir).with_context(|| {
            format!("cannot make {}; choose another --data-dir", self.data_dir.display())
        })?;
        Ok(Database::Postgres(Arc::new(PostgresStore::open(&options, clock).await?)))
    }

    /// Opens the store for a few small changes, whether or not a server runs on it.
    ///
    /// # Errors
    /// If it cannot be used.
    pub async fn open_beside(&self, clock: Arc<dyn Clock>) -> anyhow::Result<Database> {
        match self.options()? {
            Some(options) => {
                Ok(Database::Postgres(Arc::new(PostgresStore::open(&options, clock).await?)))
            }
            None => {
                let store = SqliteStore::open_beside(&self.data_dir, clock)?;
                Ok(Database::Sqlite(Arc::new(store)))
            }
        }
    }

    /// Opens the store to look at it, whether or not a server runs on it.
    ///
    /// # Errors
    /// If there is none that can be read.
    pub async fn open_read_only(&self) -> anyhow::Result<Database> {
        match self.options()? {
            Some(options) => {
                Ok(Database::Postgres(Arc::new(PostgresStore::open_read_only(&options).await?)))
            }
            None => Ok(Database::Sqlite(Arc::new(SqliteStore::open_read_only(&self.data_dir)?))),
        }
    }
}

/// A place as messages name it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.options() {
            Ok(Some(options)) => f.write_str(&options.place()),
            _ => write!(f, "{}", self.data_dir.display()),
        }
    }
}

/// An open store.
#[derive(Clone)]
pub enum Database {
    /// The embedded one.
    Sqlite(Arc<SqliteStore>),
    /// The shared one.
    Postgres(Arc<PostgresStore>),
}

impl Database {
    /// Its ports.
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as Arc<dyn Store>,
            Self::Postgres(store) => Arc::clone(store) as Arc<dyn Store>,
        }
    }

    /// Its tenants and keys.
    pub fn access(&self) -> Arc<dyn Access> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as Arc<dyn Access>,
            Self::Postgres(store) => Arc::clone(store) as Arc<dyn Access>,
        }
    }

    /// Gives the wall time of the longest commit so far, as long as the store is open, without
    /// keeping it open.
    pub fn slowest_commit(&self) -> Box<dyn Fn() -> Option<Duration> + Send + Sync> {
        match self {
            Self::Sqlite(store) => {
                let store = Arc::downgrade(store);
                Box::new(move || Some(store.upgrade()?.slowest_commit()))
            }
            Self::Postgres(store) => {
                let store = Arc::downgrade(store);
                Box::new(move || Some(store.upgrade()?.slowest_commit()))
            }
        }
    }

    /// Wall time after which a batch that is still loading is nobody's. A data directory is
    /// locked: no other server can be loading into it.
    pub fn abandoned_after(&self) -> Duration {
        match self {
            Self::Sqlite(_) => Duration::ZERO,
            Self::Postgres(_) => ABANDONED,
        }
    }

    /// Makes sure that all servers of a shared store have the same secret: what one of them
    /// hands out must hold at the others.
    ///
    /// # Errors
    /// If another server came first with another secret.
    pub async fn agree_on(&self, secret: &Secret) -> anyhow::Result<()> {
        let Self::Postgres(store) = self else { return Ok(()) };
        // A few bits of a hash of what has 256 of them say nothing about it.
        let KeyHash(hash) = KeyHash::of(&format!("dialtone secret {}", secret.expose()));
        let mut bits = [0; 8];
        bits[1..].copy_from_slice(&hash[..7]);
        if !store.agree_on("secret", i64::from_be_bytes(bits)).await? {
            bail!(
                "another server of {} has another secret; \
                 give all servers of one database the same DIALTONE_SECRET",
                store.place()
            );
        }
        Ok(())
    }
}
