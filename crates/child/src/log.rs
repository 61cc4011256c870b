//! Reading the end of a child's log.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// How much of a log is read for a tail: some hundred lines, never the whole file.
const TAIL_BYTES: u64 = 64 * 1024;

/// Where the older half of a rotated log lies.
pub fn rotated(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

/// The last lines of a log, reaching into the rotated file where the current one is short.
pub fn tail(path: &Path, lines: usize) -> String {
    let mut text = end_of(path);
    if text.lines().count() < lines {
        text.insert_str(0, &end_of(&rotated(path)));
    }
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn end_of(path: &Path) -> String {
    let Ok(mut file) = File::open(path) else { return String::new() };
    // A device such as /dev/zero has no end to read.
    let Ok(meta) = file.metadata() else { return String::new() };
    if !meta.is_file() {
        return String::new();
    }
    let start = meta.len().saturating_sub(TAIL_BYTES);
    let mut bytes = Vec::new();
    if file.seek(SeekFrom::Start(start)).is_err()
        || file.take(TAIL_BYTES).read_to_end(&mut bytes).is_err()
    {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // The first line of a cut is half a line.
    match text.split_once('\n') {
        Some((_, whole)) if start > 0 => whole.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_reaches_over_the_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(rotated(&path), "one\ntwo\n").unwrap();
        std::fs::write(&path, "three\n").unwrap();
        assert_eq!(tail(&path, 2), "two\nthree");
        assert_eq!(tail(&path, 9), "one\ntwo\nthree");
        assert_eq!(tail(&dir.path().join("absent"), 9), "");
    }

    #[test]
    fn tail_of_a_long_log_starts_at_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, "0123456789\n".repeat(20_000)).unwrap();
        assert!(tail(&path, 100_000).lines().all(|line| line == "0123456789"));
    }
}
