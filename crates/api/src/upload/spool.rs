use std::fs::{self, File, OpenOptions};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use dialtone_contract::{ErrorCode, Problem, limits};
use dialtone_serve::problem::body_failure;
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Failure;

/// Bytes of an upload up to which it stays in memory, and that are written at once.
const IN_MEMORY: usize = 1024 * 1024;
/// Uploads on disk at once; each may take the largest body's size of it.
const ON_DISK: usize = 8;
/// What files of uploads are called.
const PREFIX: &str = "upload-";

/// Where uploads are kept while they are read. Their files have no name while they are
/// in use, so that nothing is left of them, however the process ends.
#[derive(Debug)]
pub struct Uploads {
    dir: PathBuf,
    next: AtomicU64,
    on_disk: Arc<Semaphore>,
    /// One permit for each MiB of an upload whose rows are being read: what a reader
    /// remembers grows with the rows, so two of the largest are not read at once.
    reading: Arc<Semaphore>,
}

impl Uploads {
    /// Keeps uploads in the folder `dir`, which is made when it is needed.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        // A kill between the making of a file and the taking of its name leaves one.
        for left in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if left.file_name().to_string_lossy().starts_with(PREFIX) {
                let _ = fs::remove_file(left.path());
            }
        }
        Self {
            dir,
            next: AtomicU64::new(0),
            on_disk: Arc::new(Semaphore::new(ON_DISK)),
            reading: Arc::new(Semaphore::new(mebibytes(limits::UPLOAD_BODY_MAX) as usize)),
        }
    }

    /// Receives a body to its end.
    pub(super) async fn receive(&self, body: Body) -> Result<Spool, Failure> {
        let mut spool = Spool { kept: Kept::Memory(Cursor::default()), len: 0 };
        let mut part = Vec::new();
        let mut stream = body.into_data_stream();
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(|error| body_failure(&error))?;
            spool.len += bytes.len() as u64;
            if spool.len > limits::UPLOAD_BODY_MAX {
                return Err(ErrorCode::TooLarge.into());
            }
            part.extend_from_slice(&bytes);
            if part.len() >= IN_MEMORY {
                spool = self.write(spool, std::mem::take(&mut part)).await?;
            }
        }
        match &mut spool.kept {
            Kept::Memory(kept) => *kept = Cursor::new(part),
            Kept::File { .. } => spool = self.write(spool, part).await?,
        }
        Ok(spool)
    }

    async fn write(&self, mut spool: Spool, part: Vec<u8>) -> Result<Spool, Failure> {
        let new = match spool.kept {
            Kept::File { .. } => None,
            Kept::Memory(_) => {
                let slot = Arc::clone(&self.on_disk).try_acquire_owned().map_err(|_| {
                    let detail = format!("{ON_DISK} large uploads are under way");
                    Problem::new(ErrorCode::Overloaded, detail)
                })?;
                let n = self.next.fetch_add(1, Ordering::Relaxed);
                Some((self.dir.join(format!("{PREFIX}{}-{n}", std::process::id())), slot))
            }
        };
        let written = tokio::task::spawn_blocking(move || {
            if let Some((path, slot)) = new {
                spool.kept = Kept::File { file: nameless(&path)?, _slot: slot };
            }
            if let Kept::File { file, .. } = &mut spool.kept {
                file.write_all(&part)?;
            }
            io::Result::Ok(spool)
        });
        match written.await {
            Ok(Ok(spool)) => Ok(spool),
            Ok(Err(error)) => {
                tracing::error!(%error, dir = %self.dir.display(), "an upload cannot be kept");
                let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
                let code = if full.contains(&error.kind()) {
                    ErrorCode::StorageFull
                } else {
                    ErrorCode::Overloaded
                };
                let detail = format!("the upload cannot be kept: {}", error.kind());
                Err(Problem::new(code, detail).into())
            }
            Err(_) => Err(ErrorCode::Internal.into()),
        }
    }

    /// Waits until there is memory to read an upload of this size. A small one needs too
    /// little to wait.
    pub(super) async fn turn(
        &self,
        spool: &Spool,
    ) -> Result<Option<OwnedSemaphorePermit>, Failure> {
        if matches!(spool.kept, Kept::Memory(_)) {
            return Ok(None);
        }
        let turn = Arc::clone(&self.reading).acquire_many_owned(mebibytes(spool.len)).await;
        turn.map(Some).map_err(|_| ErrorCode::Internal.into())
    }
}

fn mebibytes(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024 * 1024)).unwrap_or(u32::MAX)
}

/// A file that is gone when it is closed.
fn nameless(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    fs::remove_file(path)?;
    Ok(file)
}

/// A body that has arrived whole.
#[derive(Debug)]
pub struct Spool {
    kept: Kept,
    len: u64,
}

#[derive(Debug)]
enum Kept {
    Memory(Cursor<Vec<u8>>),
    File {
        file: File,
        /// Its place among the uploads on disk.
        _slot: OwnedSemaphorePermit,
    },
}

impl Read for Spool {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.kept {
            Kept::Memory(kept) => kept.read(buffer),
            Kept::File { file, .. } => file.read(buffer),
        }
    }
}

impl Seek for Spool {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &mut self.kept {
            Kept::Memory(kept) => kept.seek(to),
            Kept::File { file, .. } => file.seek(to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path) -> usize {
        fs::read_dir(dir).map_or(0, Iterator::count)
    }

    #[tokio::test]
    async fn a_body_comes_back_and_leaves_no_file() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("upload-1-1"), "left by a killed server").expect("written");
        let uploads = Uploads::in_dir(dir.path());
        assert_eq!(files(dir.path()), 0);
        for len in [0, 1, IN_MEMORY - 1, IN_MEMORY, 3 * IN_MEMORY + 17] {
            let sent: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let mut spool = uploads.receive(Body::from(sent.clone())).await.expect("received");
            for _ in 0..2 {
                let mut found = Vec::new();
                spool.rewind().expect("sought");
                spool.read_to_end(&mut found).expect("read");
                assert!(found == sent, "{len} bytes came back as {}", found.len());
            }
            assert_eq!(files(dir.path()), 0, "a file of {len} bytes has a name");
        }
    }

    #[tokio::test]
    async fn so_many_uploads_are_on_disk_at_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let uploads = Uploads::in_dir(dir.path());
        let large = || uploads.receive(Body::from(vec![b'x'; IN_MEMORY]));
        let mut held = Vec::new();
        for _ in 0..ON_DISK {
            held.push(large().await.expect("received"));
        }
        large().await.expect_err("one too many");
        uploads.receive(Body::from("x")).await.expect("a small one needs no disk");
        held.pop();
        large().await.expect("received");
    }
}
