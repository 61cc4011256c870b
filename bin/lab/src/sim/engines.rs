use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dialtone_clock::Clock;
use dialtone_harness::failure::Failure;
use dialtone_sim::Opened;
use dialtone_store_sqlite::SqliteStore;

use crate::interrupt::Leftovers;

/// Where files cost no disk: what a disk does to a database is not what is simulated.
const SHARED_MEMORY: &str = "/dev/shm";

/// New SQLite databases, one for each simulation, under a folder of this process.
pub struct Sqlite {
    root: PathBuf,
    opened: AtomicU64,
}

/// The folder of one database.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays goes with the folder of the process.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Sqlite {
    /// Makes the folder, which is removed with `leftovers`.
    pub fn new(leftovers: &Leftovers) -> Result<Self, Failure> {
        let name = format!("dialtone-sim-{}", std::process::id());
        let temporary = std::env::temp_dir();
        let mut failed = None;
        for base in [Path::new(SHARED_MEMORY), &temporary] {
            let root = base.join(&name);
            match std::fs::create_dir(&root) {
                Ok(()) => {
                    leftovers.folder(root.clone());
                    return Ok(Self { root, opened: AtomicU64::new(0) });
                }
                Err(error) => failed = Some(format!("cannot make {}: {error}", root.display())),
            }
        }
        Err(Failure::environment(failed.unwrap_or_default()))
    }

    /// An empty database on this clock.
    ///
    /// # Panics
    /// If there can be none, as on a full disk.
    pub fn open(&self, clock: Arc<dyn Clock>) -> Opened {
        let place = self.opened.fetch_add(1, Ordering::Relaxed);
        let folder = Folder(self.root.join(place.to_string()));
        let store = SqliteStore::open(&folder.0, clock)
            .unwrap_or_else(|error| panic!("no database for a simulation: {error}"));
        (Arc::new(store), Box::new(folder))
    }
}
