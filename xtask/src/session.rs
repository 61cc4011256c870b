//! What every command with a run does around it: identity, consumers, files, exit code.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use dialtone_child::census;
use dialtone_contract::{ErrorCode, ExitCode};
use dialtone_harness::envelope::Envelope;
use dialtone_harness::event::{Bus, Event, JsonDocument, JsonLines};
use dialtone_harness::failure::Failure;
use dialtone_harness::flow::Binaries;
use dialtone_harness::interrupt::Interrupt;
use dialtone_harness::printer::{Style, Terminal, Verbosity};
use dialtone_harness::run::{Identity, Run};
use dialtone_harness::run_dir::{self, RunDir};
use dialtone_harness::{report, seed};
use tokio::task::JoinError;

use crate::build::{self, NoBinaries};
use crate::cli::{Common, Format, Output, Profile};
use crate::ending::Ending;
use crate::place;

/// The run of this process, for the teardown and the result after a panic.
static RUN: OnceLock<Running> = OnceLock::new();

/// How long processes may take to be gone after a panic: their supervisors end them.
const SETTLE: Duration = Duration::from_secs(3);

/// What is needed of a session once its task is gone.
struct Running {
    command: &'static str,
    run_id: String,
    seed: u64,
    bus: Bus,
    ending: Ending,
}

/// A command that is going to have a run.
pub struct Session {
    pub identity: Identity,
    pub bus: Bus,
    pub interrupt: Interrupt,
    ending: Ending,
    base: PathBuf,
    folder: Option<String>,
    report_dir: Option<PathBuf>,
    require: bool,
}

impl Session {
    /// Gives the run its identity and starts to print and to listen for signals.
    pub fn begin(command: &'static str, seed: Option<u64>, output: &Output) -> Self {
        let identity = Identity {
            command,
            run_id: seed::run_id(),
            seed: seed.unwrap_or_else(seed::seed),
            again: String::new(),
        };
        let bus = Bus::new();
        let ending = Ending::behind(&bus);
        consumers(&ending.prints, output);
        RUN.get_or_init(|| Running {
            command,
            run_id: identity.run_id.clone(),
            seed: identity.seed,
            bus: bus.clone(),
            ending: ending.clone(),
        });
        let interrupt = Interrupt::listen(bus.clone(), identity.run_id.clone());
        Self {
            identity,
            bus,
            interrupt,
            ending,
            base: place::base(),
            folder: None,
            report_dir: output.report_dir.clone(),
            require: output.requires(),
        }
    }

    /// Says which settings of the environment this version does not use.
    pub fn warn_of_unused(&self) {
        let name = "DATABASE_URL";
        if std::env::var_os(name).is_some_and(|value| !value.is_empty()) {
            let text = format!("{name} is ignored: this version runs on its embedded store");
            self.bus.emit(Event::Warning { text });
        }
    }

    /// Proves that there is somewhere to write, before anything is started, and kills what runs
    /// that were themselves killed left behind.
    pub fn prepare(&self) -> Result<(), Failure> {
        if let Some(dir) = &self.report_dir {
            run_dir::prove_writable(dir)?;
        }
        for reaped in RunDir::reap_stale(&self.base) {
            if !reaped.killed.is_empty() {
                let text = format!(
                    "killed {} processes that run {} left behind",
                    reaped.killed.len(),
                    reaped.run
                );
                self.bus.emit(Event::Warning { text });
            }
        }
        Ok(())
    }

    /// Makes the run folder and attaches its files.
    pub fn open(&mut self, plan: impl Into<Vec<&'static str>>) -> Result<Run, Failure> {
        let dir = RunDir::create(&self.base, &self.identity.run_id)?;
        report::attach(&self.ending.files, &dir, self.report_dir.as_deref())?;
        self.folder = Some(dir.shown());
        let run = Run::new(self.identity.clone(), self.bus.clone(), dir, plan);
        Ok(run.require(self.require))
    }

    /// What every command with a stack does before it starts one: says what it leaves unused,
    /// makes sure that its results can be kept, gets the binaries, opens the run. The exit code
    /// if that is as far as it goes.
    pub async fn get_ready(
        &mut self,
        common: &Common,
        plan: impl Into<Vec<&'static str>>,
    ) -> Result<(Binaries, Run), u8> {
        self.warn_of_unused();
        self.prepare().map_err(|failure| self.refuse(&failure))?;
        let (dir, quiet) = (common.bin_dir.as_deref(), common.output.quiet);
        let binaries = match build::binaries(dir, quiet, &self.bus, &self.interrupt).await {
            Ok(binaries) => binaries,
            Err(NoBinaries::Build(code)) => return Err(code),
            Err(NoBinaries::Failure(failure)) => return Err(self.refuse(&failure)),
        };
        match self.open(plan) {
            Ok(run) => Ok((binaries, run.keep(common.keep))),
            Err(failure) => Err(self.refuse(&failure)),
        }
    }

    /// Ends a command that never had a run.
    pub fn refuse(&self, failure: &Failure) -> u8 {
        self.bus.emit(Event::failure(failure, None));
        let Identity { command, run_id, seed, .. } = &self.identity;
        let mut envelope = Envelope::of_failure(command, run_id, *seed, failure);
        envelope.wall_s = wall_s(&self.bus);
        self.ending.conclude(envelope, None)
    }

    /// Ends a run that is over: its files, what is printed, and the exit code.
    pub fn exit(&self, envelope: Envelope) -> u8 {
        self.ending.conclude(envelope, self.folder.as_deref())
    }
}

/// Who prints: text, one document, or lines.
fn consumers(bus: &Bus, output: &Output) {
    let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
    let verbosity = match (output.quiet, output.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    let live = stderr.is_terminal() && output.profile != Some(Profile::Ci);
    match output.format {
        Format::Auto | Format::Text => {
            let style = Style::detect(stdout.is_terminal() && stderr.is_terminal());
            bus.add("terminal", Terminal::new(stdout, stderr, style, verbosity, live));
        }
        Format::Json | Format::Jsonl => {
            let style = Style::detect(stderr.is_terminal());
            let talk = Terminal::new(std::io::stderr(), stderr, style, verbosity, live);
            bus.add("terminal", talk);
            if output.format == Format::Json {
                bus.add("stdout", JsonDocument(stdout));
            } else {
                bus.add("stdout", JsonLines(stdout));
            }
        }
    }
}

fn wall_s(bus: &Bus) -> f64 {
    (bus.elapsed().as_secs_f64() * 1e3).round() / 1e3
}

/// Waits until a run that panicked has left nothing behind, and tells its result; the exit code.
pub async fn after_panic(panic: JoinError) -> u8 {
    let Some(running) = RUN.get() else { return ExitCode::Environment.code() };
    if !census::wait_empty(&running.run_id, SETTLE).await.is_empty() {
        census::kill_all(&running.run_id);
    }
    running.panicked(&words(panic))
}

/// What was said in a panic.
fn words(panic: JoinError) -> String {
    let Ok(payload) = panic.try_into_panic() else { return "its task was cancelled".to_owned() };
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no words".to_owned())
}

impl Running {
    fn panicked(&self, words: &str) -> u8 {
        let failure = Failure::new(ErrorCode::Internal, format!("the harness panicked: {words}"))
            .exit(ExitCode::Environment)
            .hint("this is a fault of xtask itself; its place stands in the panic on stderr");
        self.bus.emit(Event::failure(&failure, None));
        let mut envelope = Envelope::of_failure(self.command, &self.run_id, self.seed, &failure);
        envelope.wall_s = wall_s(&self.bus);
        self.ending.conclude(envelope, None)
    }
}

#[cfg(test)]
mod tests {
    use dialtone_harness::run_dir::RESULT;

    use super::*;

    #[tokio::test]
    async fn a_panic_has_a_result_of_its_own() {
        let base = tempfile::tempdir().expect("a folder");
        let dir = RunDir::create(base.path(), "a").expect("a run folder");
        let bus = Bus::new();
        let ending = Ending::behind(&bus);
        report::attach(&ending.files, &dir, None).expect("attached");
        let running =
            Running { command: "batch:test", run_id: "a".to_owned(), seed: 7, bus, ending };
        let ended: Result<(), _> = tokio::spawn(async { panic!("boom {}", 1) }).await;
        let panic = ended.expect_err("it panicked");
        assert_eq!(running.panicked(&words(panic)), 5);
        let written = std::fs::read(dir.join(RESULT)).expect("written");
        let envelope: Envelope = serde_json::from_slice(&written).expect("the document");
        assert_eq!((envelope.exit_code, envelope.seed), (5, 7));
        let error = envelope.error.expect("an error");
        assert_eq!(error.code, ErrorCode::Internal);
        assert!(error.message.ends_with("boom 1"), "{}", error.message);
    }
}
