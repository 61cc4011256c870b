//! Where a process listens, told to whoever started it: a file of one JSON line,
//! written by rename, so that a reader sees all of it or nothing.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Environment variable with the nonce of a run. It comes back in the address file and
/// in `/livez`, so that a stale process on the same port is never taken for ours.
pub const NONCE_ENV: &str = "DIALTONE_NONCE";

/// Where a process listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressFile {
    /// The nonce that the process was started with; empty if it had none.
    pub nonce: String,
    /// Process id.
    pub pid: u32,
    /// Base URL of each listener by name, without a slash at the end.
    pub urls: BTreeMap<String, String>,
}

impl AddressFile {
    /// For this process, with the nonce of its environment.
    pub fn of_this_process(urls: BTreeMap<String, String>) -> Self {
        Self { nonce: nonce().unwrap_or_default(), pid: std::process::id(), urls }
    }
}

/// The nonce that this process was started with.
pub fn nonce() -> Option<String> {
    std::env::var(NONCE_ENV).ok().filter(|nonce| !nonce.is_empty())
}

/// Writes the file under another name beside `path` and renames it.
///
/// # Errors
/// If the folder cannot be written to. No partial file is left under `path`.
pub fn write(path: &Path, file: &AddressFile) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut line = serde_json::to_vec(file)?;
    line.push(b'\n');
    let temporary =
        path.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    std::fs::write(&temporary, &line).and_then(|()| std::fs::rename(&temporary, path)).inspect_err(
        |_| {
            // The first error is the one that counts.
            let _ = std::fs::remove_file(&temporary);
        },
    )
}

/// Reads the file; `None` until it is there and complete.
pub fn read(path: &Path) -> Option<AddressFile> {
    let text = std::fs::read_to_string(path).ok()?;
    serde_json::from_str(text.strip_suffix('\n')?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("api.json");
        assert_eq!(read(&path), None);
        let urls = BTreeMap::from([("api".to_owned(), "http://127.0.0.1:8000".to_owned())]);
        let file = AddressFile { nonce: "7f3a".into(), pid: 42, urls };
        write(&path, &file).expect("written");
        assert_eq!(read(&path), Some(file.clone()));
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 1);

        // Each strict prefix, as a writer without the rename would leave it.
        let whole = std::fs::read(&path).expect("the file");
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).expect("written");
            assert_eq!(read(&path), None, "{end} bytes were taken for a whole file");
        }
        assert!(write(&dir.path().join("no/such/api.json"), &file).is_err());
    }

    #[test]
    fn readers_never_see_half_a_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.json");
        let file =
            |pid| AddressFile { nonce: "n".repeat(pid as usize * 50), pid, urls: BTreeMap::new() };
        write(&path, &file(1)).expect("written");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for pid in 1..200 {
                    write(&path, &file(pid)).expect("written");
                }
            });
            while !writer.is_finished() {
                let seen = read(&path).expect("a whole file at any time");
                assert_eq!(seen, file(seen.pid));
            }
        });
    }
}
