use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dialtone_child::census::{self, Leftover};
use dialtone_child::process;
use dialtone_child::{RUN_ENV, Signal};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::SemaphorePermit;

use crate::bins;
use crate::rig::SLOTS;
use crate::wait::{until, within};

/// The longest run that a test waits for.
const RUN: Duration = Duration::from_secs(90);

/// How long anything of an ended harness may still be there.
const CLEAN: Duration = Duration::from_secs(3);

/// `xtask` as a user runs it: a process of its own, in a working directory of its own.
///
/// It is not held by a supervisor, which would hide what it leaves behind.
#[derive(Debug)]
pub struct Harness {
    dir: TempDir,
    bin_dir: PathBuf,
    without: Vec<&'static str>,
}

/// A running `xtask`.
#[derive(Debug)]
pub struct Running {
    child: Child,
    dir: PathBuf,
    pid: u32,
    n: u32,
    _slots: SemaphorePermit<'static>,
}

/// How an `xtask` ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Default for Harness {
    fn default() -> Self {
        Self::new()
    }
}

impl Harness {
    /// A fresh working directory, whose path has a space in it.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new() -> Self {
        let dir = TempDir::with_prefix("dialtone suite ").expect("a temporary folder");
        Self { dir, bin_dir: bins().to_owned(), without: Vec::new() }
    }

    /// Runs the binaries of another folder.
    pub fn bin_dir(self, bin_dir: PathBuf) -> Self {
        Self { bin_dir, ..self }
    }

    /// Runs without an environment variable.
    pub fn without(mut self, name: &'static str) -> Self {
        self.without.push(name);
        self
    }

    /// The working directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `xtask` with these arguments, in the working directory, with nothing of the
    /// test's own surroundings; stdin is empty.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.bin_dir.join("xtask"));
        command
            .args(args)
            .current_dir(self.dir())
            .env("CARGO_TARGET_DIR", self.dir().join("target"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        let others = ["CARGO_MANIFEST_DIR", "LIVEKIT_URL", "DATABASE_URL", RUN_ENV];
        for name in others.iter().chain(&self.without) {
            command.env_remove(name);
        }
        command
    }

    /// Starts `batch:test` with these flags.
    pub async fn start(&self, args: &[&str]) -> Running {
        self.start_with(1, args).await
    }

    /// Starts `batch:test` when so many of the machine's slots are free: a run on the
    /// fastest timeline is for a machine that does nothing else.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start_with(&self, slots: u32, args: &[&str]) -> Running {
        let bin_dir = self.bin_dir.to_str().expect("text");
        self.launch(slots, &[&["batch:test", "--bin-dir", bin_dir], args].concat()).await
    }

    /// Starts `xtask` with these arguments.
    pub async fn start_command(&self, args: &[&str]) -> Running {
        self.launch(1, args).await
    }

    /// Runs `xtask` with these arguments to its end.
    pub async fn run_command(&self, args: &[&str]) -> Ended {
        self.start_command(args).await.ended().await
    }

    async fn launch(&self, slots: u32, args: &[&str]) -> Running {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let slots = SLOTS.acquire_many(slots).await.expect("never closed");
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut command = self.command(args);
        let file = |name| File::create(self.dir().join(format!("{n}.{name}"))).expect("a file");
        command.stdout(file("stdout")).stderr(file("stderr"));
        let child = command.spawn().expect("xtask starts");
        let pid = child.id().expect("it runs");
        let dir = self.dir().to_owned();
        Running { child, dir, pid, n, _slots: slots }
    }

    /// Runs `batch:test` with these flags to its end.
    pub async fn run(&self, args: &[&str]) -> Ended {
        self.start(args).await.ended().await
    }

    /// The folders of the runs so far, by run id.
    pub fn runs(&self) -> Vec<String> {
        runs(self.dir())
    }

    /// Nothing of any run is left soon after.
    ///
    /// # Panics
    /// If something is.
    pub async fn clean(&self) {
        for run in self.runs() {
            let left = census::wait_empty(&run, CLEAN).await;
            assert!(left.is_empty(), "left behind by {run}: {left:#?}");
        }
    }
}

fn runs(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir.join("target/xtask/runs")) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name != "latest" && !name.starts_with('.')).collect()
}

impl Running {
    /// Sends `xtask` itself a signal.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        let own = process::find(self.pid).expect("xtask runs");
        assert!(own.signal(signal), "xtask is gone");
    }

    /// The processes of its runs.
    pub fn processes(&self) -> Vec<Leftover> {
        runs(&self.dir).iter().flat_map(|run| census::tagged(run)).collect()
    }

    /// The process of this name, once it is there.
    ///
    /// # Panics
    /// If it does not come.
    pub async fn process(&self, name: &str) -> process::Process {
        until(&format!("the process {name}"), async || {
            let all = self.processes();
            let found = all.iter().find(|one| one.name == name);
            found.and_then(|one| process::find(one.pid)).ok_or_else(|| self.so_far(&all))
        })
        .await
    }

    /// An event of the run for which `wanted` holds, once it is there.
    ///
    /// # Panics
    /// If it does not come.
    pub async fn event(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, async || {
            let path = self.dir.join("target/xtask/runs/latest/events.jsonl");
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let mut events = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            events.find(&wanted).ok_or_else(|| self.so_far(&[]))
        })
        .await
    }

    /// Waits until the batch has so many dials.
    pub async fn dialled(&self, dials: u64) {
        let what = format!("{dials} dials");
        self.event(&what, |event| event["dials"].as_u64().is_some_and(|n| n >= dials)).await;
    }

    fn so_far(&self, processes: &[Leftover]) -> String {
        format!("{processes:?} {}", self.written("stderr"))
    }

    fn written(&self, name: &str) -> String {
        let path = self.dir.join(format!("{}.{name}", self.n));
        String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn ended(self) -> Ended {
        self.ended_within(RUN).await
    }

    /// Waits for its end, for longer than the usual.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn ended_within(mut self, ceiling: Duration) -> Ended {
        let status = within(ceiling, "the end of xtask", async || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            _ => Err(self.written("stderr")),
        })
        .await;
        let (stdout, stderr) = (self.written("stdout"), self.written("stderr"));
        Ended { code: status.code(), stdout, stderr }
    }
}

impl Ended {
    /// The one JSON document on stdout, after a check of the exit code and of what every
    /// document says of itself.
    ///
    /// # Panics
    /// If the code is another, or stdout is anything else.
    #[track_caller]
    pub fn document(&self, code: i32) -> Value {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stderr, self.stdout);
        let document: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr));
        assert_eq!(document["schema_version"], 1);
        assert_eq!(document["exit_code"], code);
        let verdict = match code {
            0 => "passed",
            1 | 6 | 99 => "failed",
            4 => "skipped",
            130 | 143 => "interrupted",
            _ => "error",
        };
        assert_eq!(document["verdict"], verdict);
        document
    }

    /// The document of a run that broke off, with the code of its error.
    ///
    /// # Panics
    /// If it ended otherwise.
    #[track_caller]
    pub fn broke_off(&self, code: i32, error: &str) -> Value {
        let document = self.document(code);
        assert_eq!(document["error"]["code"], error, "{document:#}\n{}", self.stderr);
        assert!(document["error"]["message"].as_str().is_some_and(|m| !m.contains('\n')));
        document
    }
}
