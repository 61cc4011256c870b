//! Run files: how a later start finds what a killed run left behind.
//!
//! Supervisors end their children when their parent dies. Only when the supervisors were killed
//! too can something stay. A run file names a run and the process that owns it; [`reap_stale`]
//! kills the tagged leftovers of every run whose owner is gone.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::census::{self, Leftover};
use crate::process;

/// How run files are called.
const SUFFIX: &str = ".run.json";

/// The file of a run that is going on. Removed when dropped.
#[derive(Debug)]
pub struct RunFile {
    path: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    pid: u32,
    start_time: Option<u64>,
    boot: Option<String>,
    run: String,
}

/// A run whose owner was gone.
#[derive(Debug)]
pub struct Reaped {
    /// The run.
    pub run: String,
    /// Process id that its owner had.
    pub pid: u32,
    /// What was still there, and was killed.
    pub killed: Vec<Leftover>,
}

impl RunFile {
    /// Writes the file of this run into `dir`, owned by this process.
    pub fn create(dir: &Path, run: &str) -> io::Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if run.is_empty() || !run.chars().all(plain) {
            let why = format!("run name `{run}`: only letters, digits, `-`, `_` and `.`");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let pid = std::process::id();
        let record = Record {
            pid,
            start_time: process::find(pid).map(|own| own.start_time),
            boot: process::boot_id(),
            run: run.to_owned(),
        };
        std::fs::create_dir_all(dir)?;
        let path = dir.join(format!("{run}{SUFFIX}"));
        // A reader sees the whole file or none.
        let draft = dir.join(format!(".{run}.{pid}.tmp"));
        let mut file = std::fs::File::create(&draft)?;
        serde_json::to_writer(&mut file, &record)?;
        file.flush()?;
        std::fs::rename(&draft, &path)?;
        Ok(Self { path })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file: the run is over and clean.
    pub fn remove(self) {
        drop(self);
    }
}

impl Drop for RunFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Kills what is left of every run in `dir` whose owner is gone, and removes its file. Runs whose
/// owner lives are left alone, and so is everything where the owner cannot be told apart from a
/// later process with the same id.
pub fn reap_stale(dir: &Path) -> Vec<Reaped> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(SUFFIX))
        .filter_map(|path| reap_file(&path))
        .collect()
}

fn reap_file(path: &Path) -> Option<Reaped> {
    let record: Record = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    // Without start times nothing here is certain.
    let (boot, start_time) = (process::boot_id()?, record.start_time?);
    let same_boot = record.boot.as_deref() == Some(boot.as_str());
    let owner_lives = same_boot
        && process::find(record.pid).is_some_and(|now| now.start_time == start_time && !now.zombie);
    if owner_lives {
        return None;
    }
    // Nothing outlives a reboot.
    let killed = if same_boot { census::kill_all(&record.run) } else { Vec::new() };
    let _ = std::fs::remove_file(path);
    Some(Reaped { run: record.run, pid: record.pid, killed })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn put(dir: &Path, record: &Record) {
        let path = dir.join(format!("{}{SUFFIX}", record.run));
        std::fs::write(path, serde_json::to_vec(record).unwrap()).unwrap();
    }

    #[test]
    fn a_living_run_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = RunFile::create(dir.path(), "alive").unwrap();
        assert!(reap_stale(dir.path()).is_empty());
        let path = file.path().to_owned();
        assert!(path.exists());
        file.remove();
        assert!(!path.exists());
        assert!(RunFile::create(dir.path(), "../out").is_err());
    }

    #[test]
    fn a_reused_process_id_does_not_pass_for_the_owner() {
        let dir = tempfile::tempdir().unwrap();
        let run = format!("stale-{}", std::process::id());
        let mut left = std::process::Command::new("sleep")
            .arg("60")
            .env(crate::RUN_ENV, &run)
            .spawn()
            .unwrap();
        // The tag shows once the new process has replaced its image.
        while census::tagged(&run).is_empty() {
            std::thread::yield_now();
        }
        let own = process::find(std::process::id()).unwrap();
        put(
            dir.path(),
            &Record {
                pid: own.pid,
                start_time: Some(own.start_time + 1),
                boot: process::boot_id(),
                run: run.clone(),
            },
        );
        let reaped = reap_stale(dir.path());
        assert_eq!(reaped.len(), 1);
        assert_eq!(reaped[0].run, run);
        assert_eq!(reaped[0].killed.iter().map(|left| left.pid).collect::<Vec<_>>(), [left.id()]);
        left.wait().unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn after_a_reboot_only_the_file_goes() {
        let dir = tempfile::tempdir().unwrap();
        let record =
            Record { pid: 1, start_time: Some(1), boot: Some("other".into()), run: "old".into() };
        put(dir.path(), &record);
        std::fs::write(dir.path().join("broken.run.json"), "{").unwrap();
        let reaped = reap_stale(dir.path());
        assert_eq!(reaped.len(), 1);
        assert!(reaped[0].killed.is_empty());
    }
}
