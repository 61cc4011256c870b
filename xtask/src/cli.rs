//! The command line: nouns, verbs, and the flags that commands share.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use dialtone_contract::ErrorCode;
use dialtone_harness::envelope::Envelope;
use dialtone_harness::event::{Event, Stamped};
use dialtone_harness::failure::Failure;
use dialtone_harness::seed;
use dialtone_harness::span::{self, Unit};

use crate::tasks::{batch, dev, explain, model, recordings, sim, tidy, worker};
use crate::{console, menu};

/// Developer harness of Dialtone.
#[derive(Debug, Parser)]
#[command(
    name = "xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true,
    term_width = 100,
    after_help = EXIT_CODES
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

const EXIT_CODES: &str = "\
Exit codes: 0 passed; 1 a check failed; 2 usage; 3 not ready or died; 4 nothing tested;
5 environment unusable, or machine too slow; 6 something was left behind; 99 threshold;
101 build failed; 124 deadline; 130, 143 interrupted.";

/// A command, whichever way it was spelled.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// An LLM worker with a real model under a mock hive: ready, right, streaming, and gone again.
    #[command(name = "worker:test", alias = "worker-test", after_help = EXIT_CODES)]
    WorkerTest(worker::Args),
    /// Many clients that go away from one LLM worker, and nothing of them that stays in it.
    #[command(name = "worker:soak", alias = "worker-soak", after_help = EXIT_CODES)]
    WorkerSoak(worker::soak::Args),
    /// Commands about LLM workers.
    #[command(name = "worker", hide = true, disable_help_subcommand = true)]
    Worker {
        #[command(subcommand)]
        verb: Option<WorkerVerb>,
    },
    /// A batch of simulated calls through the whole pipeline, and everything that must then hold.
    #[command(name = "batch:test", alias = "batch-test", after_help = EXIT_CODES)]
    BatchTest(batch::Args),
    /// Why an entry of a batch is not moving: what holds it and what would move it.
    #[command(name = "batch:explain", alias = "batch-explain", after_help = EXIT_CODES)]
    BatchExplain(explain::Args),
    /// Commands about batches.
    #[command(name = "batch", hide = true, disable_help_subcommand = true)]
    Batch {
        #[command(subcommand)]
        verb: Option<BatchVerb>,
    },
    /// A model for tests, brought into .test-models and checked by its sha256.
    #[command(name = "model:fetch", alias = "model-fetch", after_help = EXIT_CODES)]
    ModelFetch(model::Args),
    /// Commands about models.
    #[command(name = "model", hide = true, disable_help_subcommand = true)]
    Model {
        #[command(subcommand)]
        verb: Option<ModelVerb>,
    },
    /// Response latency from stereo recordings of calls, and how sure it is.
    #[command(
        name = "recordings:analyze",
        alias = "recordings-analyze",
        after_help = EXIT_CODES
    )]
    RecordingsAnalyze(Box<recordings::analyze::Args>),
    /// How far the analysis of recordings is off, on calls whose truth is known.
    #[command(
        name = "recordings:selftest",
        alias = "recordings-selftest",
        after_help = EXIT_CODES
    )]
    RecordingsSelftest(recordings::selftest::Args),
    /// Commands about recordings.
    #[command(name = "recordings", hide = true, disable_help_subcommand = true)]
    Recordings {
        #[command(subcommand)]
        verb: Option<RecordingsVerb>,
    },
    /// The pipeline in virtual time, seed by seed, while everything goes wrong that can.
    #[command(after_help = EXIT_CODES)]
    Sim(sim::Args),
    /// The stack on its well-known ports, until Ctrl-C.
    #[command(after_help = EXIT_CODES)]
    Dev(dev::Args),
    /// The rules of the repository, checked.
    #[command(after_help = EXIT_CODES)]
    Tidy(tidy::Args),
}

/// The verbs of `worker`.
#[derive(Debug, Subcommand)]
pub enum WorkerVerb {
    /// Same as `worker:test`.
    #[command(after_help = EXIT_CODES)]
    Test(worker::Args),
    /// Same as `worker:soak`.
    #[command(after_help = EXIT_CODES)]
    Soak(worker::soak::Args),
}

/// The verbs of `model`.
#[derive(Debug, Subcommand)]
pub enum ModelVerb {
    /// Same as `model:fetch`.
    #[command(after_help = EXIT_CODES)]
    Fetch(model::Args),
}

/// The verbs of `recordings`.
#[derive(Debug, Subcommand)]
pub enum RecordingsVerb {
    /// Same as `recordings:analyze`.
    #[command(after_help = EXIT_CODES)]
    Analyze(Box<recordings::analyze::Args>),
    /// Same as `recordings:selftest`.
    #[command(after_help = EXIT_CODES)]
    Selftest(recordings::selftest::Args),
}

/// The verbs of `batch`.
#[derive(Debug, Subcommand)]
pub enum BatchVerb {
    /// Same as `batch:test`.
    #[command(after_help = EXIT_CODES)]
    Test(batch::Args),
    /// Same as `batch:explain`.
    #[command(after_help = EXIT_CODES)]
    Explain(explain::Args),
}

/// How a command says what came of it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Result")]
pub struct Output {
    /// What stdout carries: text, one JSON document, or the event stream as JSON lines.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Also put result.json, junit.xml, the events and the logs there.
    #[arg(long, value_name = "DIR")]
    pub report_dir: Option<PathBuf>,
    /// A skipped check fails the run.
    #[arg(long)]
    pub require: bool,
    /// A set of flags under one name: ci = plain progress and --require.
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// Say only the verdict and what is wrong.
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say every figure too.
    #[arg(short, long)]
    pub verbose: bool,
}

/// What commands with a stack share.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct Common {
    /// Seed of everything random; drawn and printed if absent.
    #[arg(long, allow_negative_numbers = true, value_parser = seed_value)]
    pub seed: Option<u64>,
    /// How long the stack may take to be ready; a bare number is seconds.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "30s",
        allow_negative_numbers = true,
        value_parser = seconds,
    )]
    pub timeout: Duration,
    /// How long the whole run may take after the build; a bare number is seconds. Unless given:
    /// 10 minutes where time is scaled at least tenfold, else no limit.
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, value_parser = seconds)]
    pub deadline: Option<Duration>,
    /// Keep the data of the stack in the run folder even if everything passed.
    #[arg(long)]
    pub keep: bool,
    /// Run the binaries in this folder and build nothing.
    #[arg(long, value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
    /// Allow a target that is not on this machine.
    #[arg(long)]
    pub yes_remote: bool,
    // Last: its heading would take over what comes after it.
    #[command(flatten)]
    pub output: Output,
}

/// What stdout carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON document.
    Json,
    /// Events as JSON lines, then the document.
    Jsonl,
}

/// A set of flags under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Plain progress, and a skipped check fails the run.
    Ci,
}

impl Output {
    /// Whether a skipped check fails the run.
    pub fn requires(&self) -> bool {
        self.require || self.profile == Some(Profile::Ci)
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    span::parse(text, Unit::Seconds)
}

fn seed_value(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a whole number from 0 to {}", u64::MAX))
}

/// Why a command line is not run.
#[derive(Debug)]
pub struct Refusal {
    text: String,
    /// Help is asked for and is no error.
    help: bool,
    /// The document, where JSON was asked for.
    document: Option<String>,
}

impl Refusal {
    /// Says it.
    pub fn tell(self) -> ExitCode {
        if self.help {
            return console::print(&self.text, ExitCode::SUCCESS);
        }
        let code = console::complain(&self.text, ExitCode::from(2));
        match self.document {
            Some(document) => console::print(&document, code),
            None => code,
        }
    }
}

/// Reads the command line; `None` asks for the menu.
pub fn parse(args: &[OsString]) -> Result<Option<Command>, Refusal> {
    let words: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    match Cli::try_parse_from(args) {
        Ok(Cli { command: Some(Command::Batch { verb: None }) }) => {
            Err(refusal(&words, no_verb("batch", None)))
        }
        Ok(Cli { command: Some(Command::Worker { verb: None }) }) => {
            Err(refusal(&words, no_verb("worker", None)))
        }
        Ok(Cli { command: Some(Command::Model { verb: None }) }) => {
            Err(refusal(&words, no_verb("model", None)))
        }
        Ok(Cli { command: Some(Command::Recordings { verb: None }) }) => {
            Err(refusal(&words, no_verb("recordings", None)))
        }
        Ok(Cli { command: Some(Command::Model { verb: Some(ModelVerb::Fetch(args)) }) }) => {
            Ok(Some(Command::ModelFetch(args)))
        }
        Ok(Cli { command: Some(Command::Batch { verb: Some(BatchVerb::Test(args)) }) }) => {
            Ok(Some(Command::BatchTest(args)))
        }
        Ok(Cli { command: Some(Command::Batch { verb: Some(BatchVerb::Explain(args)) }) }) => {
            Ok(Some(Command::BatchExplain(args)))
        }
        Ok(Cli { command: Some(Command::Worker { verb: Some(WorkerVerb::Test(args)) }) }) => {
            Ok(Some(Command::WorkerTest(args)))
        }
        Ok(Cli { command: Some(Command::Worker { verb: Some(WorkerVerb::Soak(args)) }) }) => {
            Ok(Some(Command::WorkerSoak(args)))
        }
        Ok(cli) => Ok(cli.command),
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
        {
            Err(Refusal { text: error.to_string(), help: true, document: None })
        }
        Err(error) => Err(refusal(&words, unknown_verb(&words).unwrap_or(error.to_string()))),
    }
}

/// A verb that its noun does not have, in either spelling.
fn unknown_verb(words: &[String]) -> Option<String> {
    let first = words.get(1)?;
    let (noun, verb) = match first.split_once(':') {
        Some((noun, verb)) => (noun, verb),
        None => (first.as_str(), words.get(2)?.as_str()),
    };
    let known = menu::verbs(noun);
    let unknown = !known.is_empty()
        && !verb.starts_with('-')
        && !known.iter().any(|entry| entry.verb() == Some(verb));
    unknown.then(|| no_verb(noun, Some(verb)))
}

fn no_verb(noun: &str, verb: Option<&str>) -> String {
    let mut text = match verb {
        Some(verb) => format!("error: `{noun}` has no verb `{verb}`; it has:\n"),
        None => format!("error: `{noun}` needs a verb; it has:\n"),
    };
    for entry in menu::verbs(noun) {
        text.push_str(&entry.line());
    }
    text
}

/// The refusal, as a document too where JSON was asked for.
fn refusal(words: &[String], text: String) -> Refusal {
    let document = asked_format(words).map(|format| {
        let first = words.get(1).map_or("", String::as_str);
        let command = menu::called(first, words.get(2).map(String::as_str)).unwrap_or(first);
        let first = text.lines().next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or(first);
        let failure = Failure::new(ErrorCode::Usage, message);
        let envelope = Envelope::of_failure(command, &seed::run_id(), 0, &failure);
        if format == Format::Json {
            return envelope.to_json();
        }
        let event = Event::RunFinished { envelope: Box::new(envelope), folder: None };
        Stamped { at_ms: 0.0, event }.to_line() + "\n"
    });
    Refusal { text, help: false, document }
}

/// Whether a document is asked for, and which, by a command line that cannot be read as a whole.
fn asked_format(words: &[String]) -> Option<Format> {
    let after = words.iter().zip(words.iter().skip(1));
    let after = after.filter(|(flag, _)| *flag == "--format").map(|(_, value)| value.as_str());
    let joined = words.iter().filter_map(|word| word.strip_prefix("--format="));
    after.chain(joined).find_map(|value| match value {
        "json" => Some(Format::Json),
        "jsonl" => Some(Format::Jsonl),
        _ => None,
    })
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
