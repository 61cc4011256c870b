use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A folder of recordings under their sids. They are people's voices: nobody else may read them.
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// Opens the folder, and makes it if it is not there.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let cannot = |error| Failure::environment(format!("cannot use {}", dir.display()), error);
        fs::create_dir_all(dir).map_err(cannot)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(cannot)?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// Where a recording is, once it is there.
    pub fn path(&self, sid: &str) -> PathBuf {
        self.dir.join(format!("{sid}.wav"))
    }

    /// Whether it is there: only whole ones have their name.
    pub fn has(&self, sid: &str) -> bool {
        fs::metadata(self.path(sid)).is_ok_and(|file| file.len() > 0)
    }

    /// Where it is written first.
    pub fn part(&self, sid: &str) -> PathBuf {
        // Another process may fetch the same one.
        self.dir.join(format!(".{sid}.{}.part", std::process::id()))
    }

    /// A new empty file there.
    pub fn create(&self, part: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        options.open(part)
    }

    /// Gives a whole one its name.
    pub fn keep(&self, part: &Path, sid: &str) -> Result<PathBuf, Failure> {
        let path = self.path(sid);
        fs::rename(part, &path).map_err(|error| {
            Failure::environment(format!("cannot write {}", path.display()), error)
        })?;
        Ok(path)
    }
}
