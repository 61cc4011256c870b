use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use dialtone_contract::ErrorCode;
use sha2::{Digest, Sha256};

use super::manifest::Model;
use crate::failure::Failure;
use crate::interrupt::Leftovers;
use crate::progress::{megabytes, say};

/// Held while something is fetched into a folder. Stays there, empty: to remove it would let two
/// fetches hold two files of that name.
const LOCK: &str = ".fetch.lock";
/// What is not complete. Under the lock, so that one that is there at the start is stale.
const WORK: &str = ".fetch";
/// Bytes read at once.
const CHUNK: usize = 1024 * 1024;

/// The folder of test models.
pub struct Folder(PathBuf);

/// The place in it for what is not complete.
pub struct Work(PathBuf);

impl Folder {
    /// Makes it if need be.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(dir).map_err(|error| {
            Failure::environment(format!("cannot make {}", dir.display()), error)
        })?;
        Ok(Self(dir.to_owned()))
    }

    /// Where the model is, or will be.
    pub fn path(&self, model: &Model) -> PathBuf {
        self.0.join(&model.file)
    }

    /// Whether the model is there, all of it, by its hash.
    pub fn has(&self, model: &Model) -> Result<bool, Failure> {
        let path = self.path(model);
        let cannot = |error| Failure::environment(format!("cannot read {}", path.display()), error);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(cannot(error)),
            Ok(metadata) if metadata.is_dir() => {
                Err(Failure::environment(path.display(), "a folder is where the model belongs"))
            }
            Ok(metadata) if metadata.len() != model.bytes => Ok(false),
            Ok(_) => Ok(hash_of(&path).map_err(cannot)? == model.sha256),
        }
    }

    /// Waits until no other fetch is at work here.
    pub fn lock(&self) -> Result<File, Failure> {
        let path = self.0.join(LOCK);
        let cannot = |error| Failure::environment(format!("cannot lock {}", path.display()), error);
        let file = File::options().create(true).append(true).open(&path).map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                say("Waiting", &format!("another fetch is at work in {}", self.0.display()));
                file.lock().map_err(cannot)?;
            }
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
        }
        Ok(file)
    }

    /// An empty place for what is not complete; gone when `leftovers` are cleared.
    pub fn work(&self, leftovers: &Leftovers) -> Result<Work, Failure> {
        let path = self.0.join(WORK);
        let cannot =
            |error| Failure::environment(format!("cannot write to {}", path.display()), error);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot(error)),
            _ => {}
        }
        leftovers.folder(path.clone());
        fs::create_dir(&path).map_err(cannot)?;
        Ok(Work(path))
    }
}

impl Work {
    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn model(&self) -> PathBuf {
        self.path("model")
    }

    /// Takes the model from `source`, which people know as `from`, and checks it.
    pub fn take(&self, source: impl Read, model: &Model, from: &str) -> Result<(), Failure> {
        let path = self.model();
        let cannot =
            |error| Failure::environment(format!("cannot write {}", path.display()), error);
        let mut out = File::create(&path).map_err(cannot)?;
        let mut source = source.take(model.bytes + 1);
        let (mut hash, mut bytes, mut chunk) = (Sha256::new(), 0, vec![0; CHUNK]);
        loop {
            let read = match source.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A damaged archive is told as a failure to read.
                Err(error) => return Err(other(format!("{from} cannot be read whole: {error}"))),
            };
            hash.update(&chunk[..read]);
            out.write_all(&chunk[..read]).map_err(cannot)?;
            bytes += read as u64;
        }
        out.sync_all().map_err(cannot)?;
        let whole = model.bytes;
        if bytes != whole {
            let is = if bytes > whole { "longer than".into() } else { format!("{bytes} of") };
            return Err(other(format!("{from} is {is} the {whole} bytes of {}", model.file)));
        }
        matches(&digits(hash), &model.sha256, from)
    }

    /// Puts the model under its name, with its hash beside it.
    pub fn install(&self, model: &Model, path: &Path) -> Result<(), Failure> {
        let cannot =
            |error| Failure::environment(format!("cannot write {}", path.display()), error);
        fs::rename(self.model(), path).map_err(cannot)?;
        let (name, written) = (format!("{}.sha256", model.file), self.path("sha256"));
        let line = format!("{}  {}\n", model.sha256, model.file);
        fs::write(&written, line)
            .and_then(|()| fs::rename(&written, path.with_file_name(name)))
            .map_err(cannot)
    }
}

/// Checks the hash of a file, which people know as `from`.
pub fn check(path: &Path, expected: &str, from: &str) -> Result<(), Failure> {
    let hash = hash_of(path)
        .map_err(|error| Failure::environment(format!("cannot read {}", path.display()), error))?;
    matches(&hash, expected, from)
}

fn matches(hash: &str, expected: &str, from: &str) -> Result<(), Failure> {
    if hash == expected {
        return Ok(());
    }
    Err(other(format!("{from} has the sha256 {hash}, expected {expected}")))
}

/// A failure: it is another file than was asked for.
pub fn other(message: String) -> Failure {
    Failure::new(ErrorCode::ChecksumMismatch, message)
}

/// A failure: more came than the model can be in.
pub fn too_long(from: &str, limit: u64) -> Failure {
    other(format!("{from} is longer than {}, which is too much", megabytes(limit)))
}

fn hash_of(path: &Path) -> io::Result<String> {
    let (mut file, mut hash, mut chunk) = (File::open(path)?, Sha256::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(digits(hash)),
            Ok(read) => hash.update(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn digits(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
