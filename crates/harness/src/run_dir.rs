//! The folder of a run: `<base>/runs/<run_id>/`, with `<base>/runs/latest` pointing at the newest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dialtone_child::runfile::{self, Reaped, RunFile};

use crate::failure::Failure;

/// Run folders that are kept; older ones go when a new run begins.
pub const KEPT: usize = 30;

/// The document of a run.
pub const RESULT: &str = "result.json";
/// The JUnit file of a run.
pub const JUNIT: &str = "junit.xml";
/// The event stream of a run.
pub const EVENTS: &str = "events.jsonl";
/// What the processes under test keep.
pub const DATA: &str = "data";
/// Where the processes under test put their temporary files; whatever is left there has leaked.
pub const TMP: &str = "tmp";

/// The folder of one run.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    run_id: String,
    /// Lets a later run reap what this one leaves behind when it is killed whole.
    _owner: Option<RunFile>,
}

impl RunDir {
    /// Makes the folder of this run under `base`, points `latest` at it and drops what is older
    /// than the [`KEPT`] newest.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn create(base: &Path, run_id: &str) -> Result<Self, Failure> {
        let runs = base.join("runs");
        let path = runs.join(run_id);
        let cannot = |path: &Path, error: &io::Error| {
            Failure::environment(format!(
                "the run folder {} cannot be written: {error}",
                shown(path)
            ))
            .hint("make the folder writable, or set CARGO_TARGET_DIR to one that is")
        };
        if path.to_str().is_none() {
            let message = format!("the target folder {} is not UTF-8", shown(base));
            return Err(Failure::environment(message)
                .hint("set CARGO_TARGET_DIR to a folder whose name is UTF-8"));
        }
        for part in [DATA, TMP] {
            let part = path.join(part);
            fs::create_dir_all(&part).map_err(|error| cannot(&part, &error))?;
        }
        let owner = RunFile::create(&owners(base), run_id)
            .map_err(|error| cannot(&owners(base), &error))?;
        point_latest(&runs, run_id).map_err(|error| cannot(&runs.join("latest"), &error))?;
        prune(base, &runs);
        Ok(Self { path, run_id: run_id.to_owned(), _owner: Some(owner) })
    }

    /// Kills what runs that were themselves killed left behind under `base`.
    pub fn reap_stale(base: &Path) -> Vec<Reaped> {
        runfile::reap_stale(&owners(base))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The run.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The log of a process.
    pub fn log(&self, service: &str) -> PathBuf {
        self.path.join(format!("{service}.log"))
    }

    /// Removes the temporary folder and says what was left in it.
    pub fn sweep_tmp(&self) -> Vec<String> {
        let tmp = self.path.join(TMP);
        let left = fs::read_dir(&tmp).map_or_else(
            |_| Vec::new(),
            |entries| {
                entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
            },
        );
        let _ = fs::remove_dir_all(&tmp);
        left
    }

    /// Removes what the processes under test kept.
    pub fn drop_data(&self) {
        let _ = fs::remove_dir_all(self.path.join(DATA));
    }

    /// The folder as it is shown: relative where it lies below the working directory.
    pub fn shown(&self) -> String {
        shown(&self.path)
    }
}

/// A path as it is shown: relative where it lies below the working directory.
pub fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    match path.strip_prefix(&here) {
        Ok(below) if !here.as_os_str().is_empty() => below.display().to_string(),
        _ => path.display().to_string(),
    }
}

/// Proves that reports can be put into `dir`, before anything is started for them.
///
/// # Errors
/// If they cannot.
pub fn prove_writable(dir: &Path) -> Result<(), Failure> {
    let probe = dir.join(format!(".dialtone-{}", std::process::id()));
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&probe, b""))
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|error| {
            Failure::environment(format!(
                "the report folder {} cannot be written: {error}",
                shown(dir)
            ))
            .hint("give --report-dir a folder that can be written")
        })
}

fn owners(base: &Path) -> PathBuf {
    base.join("owners")
}

/// Moves `latest` by a rename, so that a reader finds the old run or the new one, never nothing.
fn point_latest(runs: &Path, run_id: &str) -> io::Result<()> {
    let draft = runs.join(format!(".latest-{run_id}"));
    #[cfg(unix)]
    std::os::unix::fs::symlink(run_id, &draft)?;
    #[cfg(not(unix))]
    fs::write(&draft, run_id)?;
    fs::rename(&draft, runs.join("latest"))
}

/// Drops the oldest run folders. Those whose run goes on stay, however old they are.
fn prune(base: &Path, runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    let mut ids: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    // Run ids sort by time.
    ids.sort_unstable();
    let old = ids.len().saturating_sub(KEPT);
    for id in &ids[..old] {
        if !owners(base).join(format!("{id}.run.json")).exists() {
            let _ = fs::remove_dir_all(runs.join(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_run_is_latest_and_old_ones_go() {
        let base = tempfile::Builder::new().prefix("with space ").tempdir().expect("a folder");
        let runs = base.path().join("runs");
        let going_on = RunDir::create(base.path(), "000-first").expect("a run folder");
        for n in 1..=KEPT + 2 {
            drop(RunDir::create(base.path(), &format!("{n:03}-x")).expect("a run folder"));
        }
        let latest = fs::read_link(runs.join("latest")).expect("a link");
        assert_eq!(latest, Path::new("032-x"));
        assert!(going_on.path().is_dir(), "a run that goes on was dropped");
        assert!(!runs.join("001-x").exists() && !runs.join("002-x").exists());
        assert!(runs.join("003-x").exists());
    }

    #[test]
    fn what_is_left_in_tmp_is_named_once() {
        let base = tempfile::tempdir().expect("a folder");
        let dir = RunDir::create(base.path(), "a").expect("a run folder");
        fs::write(dir.join(TMP).join("left.sock"), b"").expect("writable");
        assert_eq!(dir.sweep_tmp(), ["left.sock"]);
        assert_eq!(dir.sweep_tmp(), Vec::<String>::new());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_one_clear_line() {
        let base = tempfile::tempdir().expect("a folder");
        let file = base.path().join("file");
        fs::write(&file, b"").expect("writable");
        for failure in [
            RunDir::create(&file, "a").expect_err("a file is no folder"),
            prove_writable(&file.join("reports")).expect_err("a file is no folder"),
        ] {
            assert_eq!(failure.exit.code(), 5);
            assert!(failure.message.contains("cannot be written"), "{failure}");
            assert!(!failure.message.contains('\n'), "{failure}");
        }
    }
}
