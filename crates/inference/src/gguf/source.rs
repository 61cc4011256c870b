use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::Path;

use super::Error;

/// Where the bytes are. Reads name their place, so that threads need not take turns.
#[derive(Debug)]
pub(super) enum Source {
    /// A file, with its length when it was opened. Not mapped into memory: a file that shrinks
    /// while it is mapped kills the process.
    File(File, u64),
    /// Bytes in memory.
    Bytes(Cow<'static, [u8]>),
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Open { path: path.to_owned(), source };
        // Asked first: to open a pipe would wait for its writer.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "it is not a file");
            return Err(failed(error));
        }
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        Ok(Self::File(file, len))
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::File(_, len) => *len,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Fills `out` from `offset` on; `what` is being read, for the error.
    pub(super) fn read(&self, offset: u64, out: &mut [u8], what: &str) -> Result<(), Error> {
        let truncated = || Error::Truncated {
            what: what.to_owned(),
            offset,
            needed: out.len() as u64,
            len: self.len(),
        };
        match self {
            Self::Bytes(bytes) => {
                let part = usize::try_from(offset)
                    .ok()
                    .and_then(|start| bytes.get(start..start.checked_add(out.len())?))
                    .ok_or_else(truncated)?;
                out.copy_from_slice(part);
                Ok(())
            }
            Self::File(file, _) => {
                let mut read = 0;
                while read < out.len() {
                    let at = offset.saturating_add(read as u64);
                    match read_at(file, &mut out[read..], at) {
                        Ok(0) => {
                            let needed = out.len() as u64;
                            let len = file.metadata().map_or(at, |metadata| metadata.len());
                            return Err(Error::Truncated {
                                what: what.to_owned(),
                                offset,
                                needed,
                                len,
                            });
                        }
                        Ok(bytes) => read += bytes,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(source) => return Err(Error::Read { offset: at, source }),
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(unix)]
fn read_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, out, offset)
}

#[cfg(windows)]
fn read_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, out, offset)
}
