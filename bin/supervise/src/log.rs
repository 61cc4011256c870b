//! Copying the program's output into a file of bounded size.

use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

/// One read: what a pipe holds by default.
const CHUNK: usize = 64 * 1024;

/// Most that [`Log::catch_up`] copies, so that a flood from a descendant cannot hold it.
const CATCH_UP: usize = 1024 * 1024;

/// The reading end of the program's output, and the file behind it.
pub struct Log {
    pipe: PipeReader,
    sink: Mutex<Sink>,
}

struct Sink {
    file: RollingFile,
    chunk: Vec<u8>,
}

impl Log {
    /// Opens the file and starts the copying on a thread of its own: a slow disk must not keep the
    /// lifeline waiting.
    pub fn start(pipe: PipeReader, path: &Path, cap: u64) -> io::Result<Arc<Self>> {
        let flags = fcntl_getfl(&pipe)?;
        fcntl_setfl(&pipe, flags | OFlags::NONBLOCK)?;
        let file = RollingFile::open(path, cap)?;
        // A chunk is written whole, so it must not be larger than the file may become.
        let chunk = vec![0; CHUNK.min(usize::try_from(cap).unwrap_or(CHUNK)).max(1)];
        let log = Arc::new(Self { pipe, sink: Mutex::new(Sink { file, chunk }) });
        let copier = Arc::clone(&log);
        std::thread::Builder::new().name("log".into()).spawn(move || copier.copy())?;
        Ok(log)
    }

    /// Copies what is already in the pipe, so that the last words of a dead program are in the file
    /// before its death is reported.
    pub fn catch_up(&self) {
        let mut copied = 0;
        while copied < CATCH_UP {
            match self.pump() {
                Some(n) if n > 0 => copied += n,
                _ => return,
            }
        }
    }

    fn copy(&self) {
        loop {
            let mut fds = [PollFd::new(&self.pipe, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            if self.pump().is_none() {
                return;
            }
        }
    }

    /// Moves one chunk; none at the end of the output, 0 when there is nothing at the moment.
    fn pump(&self) -> Option<usize> {
        // Read and write under one lock: whoever finds the pipe empty knows that all is written.
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let Sink { file, chunk } = &mut *sink;
        match (&self.pipe).read(chunk) {
            Ok(0) => None,
            Ok(n) => {
                file.write(&chunk[..n]);
                Some(n)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Some(0),
                _ => None,
            },
        }
    }
}

/// A file that moves to `<name>.1` when it is full.
struct RollingFile {
    path: PathBuf,
    file: File,
    size: u64,
    cap: u64,
}

impl RollingFile {
    fn open(path: &Path, cap: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, cap })
    }

    /// Writes, or drops what cannot be written: on a full disk the program must go on.
    fn write(&mut self, bytes: &[u8]) {
        if self.size > 0 && self.size + bytes.len() as u64 > self.cap {
            self.rotate();
        }
        if self.file.write_all(bytes).is_ok() {
            self.size += bytes.len() as u64;
        }
    }

    fn rotate(&mut self) {
        let mut older = self.path.clone().into_os_string();
        older.push(".1");
        let fresh = std::fs::rename(&self.path, older)
            .and_then(|()| OpenOptions::new().create(true).append(true).open(&self.path));
        match fresh {
            Ok(file) => self.file = file,
            // The folder is gone or read-only. The cap holds all the same.
            Err(_) => {
                let _ = self.file.set_len(0);
            }
        }
        self.size = 0;
    }
}
