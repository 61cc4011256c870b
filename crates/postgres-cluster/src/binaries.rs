//! Where PostgreSQL is installed.

use std::path::{Path, PathBuf};

/// The oldest version that the store supports.
const OLDEST: u32 = 14;

/// Where Debian and its relatives keep each version apart, and leave it off the `PATH`.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A folder with `initdb` and `postgres`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// The newest installation of this machine; `None` if it has none.
    pub fn find() -> Option<Self> {
        Self::newest(Path::new(VERSIONS)).or_else(|| {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path).find_map(|dir| Self::in_folder(&dir))
        })
    }

    fn newest(versions: &Path) -> Option<Self> {
        let versions = std::fs::read_dir(versions).ok()?.filter_map(Result::ok);
        let numbered = versions.filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((version, Self::in_folder(&entry.path().join("bin"))?))
        });
        let new_enough = numbered.filter(|(version, _)| *version >= OLDEST);
        new_enough.max_by_key(|(version, _)| *version).map(|(_, found)| found)
    }

    fn in_folder(dir: &Path) -> Option<Self> {
        // A link on the PATH leads to where its libraries are found.
        let initdb = dir.join("initdb").canonicalize().ok()?;
        let dir = initdb.parent()?.to_owned();
        dir.join("postgres").is_file().then_some(Self { dir })
    }

    /// What to install where there is none.
    pub const MISSING: &str = "there is no PostgreSQL on this machine (initdb and postgres in PATH \
                               or /usr/lib/postgresql/*/bin); `apt-get install -y postgresql` \
                               installs it";

    pub(crate) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }
}
