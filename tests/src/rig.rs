use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dialtone_child::{Spec, census};
use dialtone_clock::{TIMELINE_ENV, TimeScale, Timeline};
use futures_util::FutureExt as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::process::Start;
use crate::wait::soon;
use crate::{Api, Process, bins};

/// Stacks at once: more would slow each other until guards run out.
pub(crate) static SLOTS: Semaphore = Semaphore::const_new(3);

/// How long a finished stack may take to leave the list of processes.
const CLEAN: Duration = Duration::from_secs(3);

/// What to start.
#[derive(Clone, Debug)]
pub struct Setup {
    factor: u32,
    seed: u64,
    worker: bool,
    environment: Vec<(&'static str, &'static str, String)>,
}

/// A running stack.
#[derive(Debug)]
pub struct Rig {
    /// The platform's API.
    pub api: Api,
    /// The LiveKit dev server.
    pub livekit: Process,
    /// `dialtone serve`.
    pub dialtone: Process,
    worker: Option<Process>,
    run: String,
    dir: TempDir,
    timeline: String,
    setup: Setup,
    _slot: SemaphorePermit<'static>,
}

impl Setup {
    /// A whole stack on a timeline that runs `factor` times as fast as the wall clock.
    pub fn at(factor: u32) -> Self {
        Self { factor, seed: 1, worker: true, environment: Vec::new() }
    }

    /// Without the test worker: the test itself plays the agent, or there is none.
    pub fn without_worker(self) -> Self {
        Self { worker: false, ..self }
    }

    /// The seed of the LiveKit dev server.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// A variable of the environment of one of the programs.
    pub fn env(mut self, program: &'static str, name: &'static str, value: &str) -> Self {
        self.environment.push((program, name, value.to_owned()));
        self
    }

    fn with_environment(&self, program: &str, spec: Spec) -> Spec {
        let own = self.environment.iter().filter(|(of, ..)| *of == program);
        own.fold(spec, |spec, (_, name, value)| spec.env(name, value))
    }

    /// Runs a test on a fresh stack. Afterwards, whatever became of the test, the stack
    /// is stopped and nothing of it may be left.
    ///
    /// # Panics
    /// If the test panics, the stack does not stop in order, or a process is left.
    pub async fn run(self, test: impl AsyncFnOnce(&mut Rig)) {
        let mut rig = self.start().await;
        let failed = AssertUnwindSafe(test(&mut rig)).catch_unwind().await.is_err();
        rig.finish(failed).await;
    }

    async fn start(self) -> Rig {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let slot = SLOTS.acquire().await.expect("never closed");
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let run = format!("suite-{}-{n}", std::process::id());
        let dir = TempDir::with_prefix("dialtone-suite-").expect("a temporary folder");
        let scale = TimeScale::new(self.factor).expect("a factor of 1 to 240");
        let timeline = Timeline::starting_now(scale).to_string();
        let start = |binary, listener| Start { binary, listener, run: &run, dir: dir.path() };
        let livekit = start("livekit-dev", "http")
            .ready(Start::listener(), |spec| {
                let spec = self.with_environment("livekit-dev", spec);
                spec.args(["--mode", "oss", "--seed", &self.seed.to_string()])
            })
            .await;
        let at_api = Start::listener();
        let dialtone = start("dialtone", "api");
        let dialtone = {
            let url = at_api.1.clone();
            let with = |spec: Spec| {
                let spec = self.with_environment("dialtone", spec);
                let spec = spec.arg("serve").arg("--data-dir").arg(data(dir.path()));
                spec.env("LIVEKIT_URL", livekit.api().base())
                    .env("MAIN_API_BASE_URL", url)
                    .env(TIMELINE_ENV, &timeline)
            };
            dialtone.ready(at_api, with).await
        };
        let api = dialtone.api().clone();
        let worker = self.worker;
        let (setup, _slot) = (self, slot);
        let mut rig =
            Rig { api, livekit, dialtone, worker: None, run, dir, timeline, setup, _slot };
        if worker {
            rig.start_worker().await;
        }
        rig
    }
}

/// The data directory below a stack's folder.
fn data(dir: &Path) -> PathBuf {
    dir.join("data")
}

impl Rig {
    /// Starts the test worker.
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn start_worker(&mut self) {
        let start = Start {
            binary: "test-worker",
            listener: "health",
            run: &self.run,
            dir: self.dir.path(),
        };
        let url = self.livekit.api().base();
        let with = |spec: Spec| {
            let spec = self.setup.with_environment("test-worker", spec);
            spec.env("LIVEKIT_URL", url).env(TIMELINE_ENV, &self.timeline)
        };
        self.worker = Some(start.ready(Start::listener(), with).await);
    }

    /// The test worker.
    ///
    /// # Panics
    /// If there is none.
    pub fn worker(&mut self) -> &mut Process {
        self.worker.as_mut().expect("a test worker was started")
    }

    /// The data directory of `dialtone`.
    pub fn data_dir(&self) -> PathBuf {
        data(self.dir.path())
    }

    /// A folder for the test's own files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Everything that the processes have logged so far.
    ///
    /// # Panics
    /// If a log cannot be read.
    pub fn logs(&self) -> String {
        let files = std::fs::read_dir(self.dir.path()).expect("readable").flatten();
        let logs = files.filter(|file| file.file_name().to_string_lossy().contains(".log"));
        logs.map(|log| String::from_utf8_lossy(&std::fs::read(log.path()).expect("read")).into())
            .collect::<Vec<String>>()
            .concat()
    }

    /// Tag of every process of this stack.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// A command of the `dialtone` binary on this stack's data directory.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(bins().join("dialtone"));
        command.arg(name).arg("--data-dir").arg(self.data_dir());
        command.env("NO_COLOR", "1").kill_on_drop(true);
        command
    }

    /// `dialtone verify`: every invariant of the batch, recounted from rows, holds.
    ///
    /// # Panics
    /// If one does not, or the command fails.
    pub async fn verify(&self, batch: &str) {
        let mut command = self.command("verify");
        let output = soon("dialtone verify", command.args(["--batch", batch, "--json"]).output());
        let output = output.await.expect("run");
        let text = String::from_utf8_lossy(&output.stdout);
        let found: Value = serde_json::from_str(&text)
            .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
        let invariants = found["invariants"].as_array().expect("invariants");
        let broken: Vec<_> = invariants.iter().filter(|one| one["holds"] != true).collect();
        assert!(broken.is_empty() && invariants.len() >= 10, "{batch}: {broken:#?}");
        assert!(output.status.success(), "{}", output.status);
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        // In the order of stopping: who asks goes before who is asked.
        self.worker.iter().chain([&self.dialtone, &self.livekit])
    }

    async fn finish(self, failed: bool) {
        let mut account = String::new();
        if failed {
            for process in self.processes() {
                account += &process.account().await;
            }
        }
        let mut faults = Vec::new();
        for process in self.processes() {
            let killed_by_test = process.has_ended();
            let exit = process.stop().await;
            if !killed_by_test && !exit.success() {
                faults.push(format!("{} did not stop in order: {exit}", process.name()));
            }
        }
        let left = census::wait_empty(&self.run, CLEAN).await;
        faults.extend(left.iter().map(|left| format!("left behind: {left}")));
        let faults = faults.join("\n");
        if failed {
            let kept = self.dir.keep();
            panic!("the test failed (see above). {faults}\nkept: {}\n{account}", kept.display());
        }
        assert!(faults.is_empty(), "{faults}");
    }
}
