//! The folder of a cluster, and who owns it.

use std::fs::{DirBuilder, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::ClusterError;

/// Users that root may hand a cluster to, the first that there is.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// Somebody other than root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A folder with a short path, as sockets need: removed when dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// None where this process is not root, and owns it itself.
    user: Option<User>,
}

impl Folder {
    pub(crate) fn make() -> Result<Self, ClusterError> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let n = MADE.fetch_add(1, Ordering::Relaxed);
        let path =
            PathBuf::from(format!("/tmp/dialtone-pg-{}-{n}-{}", std::process::id(), random(4)?));
        let failed = |source| ClusterError::Folder { path: path.clone(), source };
        DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        let mut folder = Self { path: path.clone(), user: None };
        if std::fs::metadata(&path).map_err(failed)?.uid() == 0 {
            let user = user().ok_or(ClusterError::NoUser)?;
            chown(&path, Some(user.uid), Some(user.gid)).map_err(failed)?;
            folder.user = Some(user);
        }
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn user(&self) -> Option<User> {
        self.user
    }

    /// Writes a file that its owner alone can read.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf, ClusterError> {
        let path = self.path.join(name);
        let failed = |source| ClusterError::Folder { path: path.clone(), source };
        std::fs::write(&path, "").map_err(failed)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
        std::fs::write(&path, text).map_err(failed)?;
        if let Some(user) = self.user {
            chown(&path, Some(user.uid), Some(user.gid)).map_err(failed)?;
        }
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a cluster's folder stays");
        }
    }
}

/// Hex digits that nobody can guess.
pub(crate) fn random(bytes: usize) -> Result<String, ClusterError> {
    let path = PathBuf::from("/dev/urandom");
    let mut taken = vec![0_u8; bytes];
    std::fs::File::open(&path)
        .and_then(|mut source| source.read_exact(&mut taken))
        .map_err(|source| ClusterError::Folder { path, source })?;
    Ok(taken.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn user() -> Option<User> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let of_name = |name: &str| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let found = fields.next() == Some(name);
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            (found && uid != 0).then_some(User { uid, gid })
        })
    };
    USERS.iter().find_map(|name| of_name(name))
}
