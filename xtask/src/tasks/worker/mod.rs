//! `worker:test` and `worker:soak`.

mod features;
mod model;
pub mod soak;
mod tools;

use std::time::Duration;

use clap::ValueEnum;
use dialtone_contract::ErrorCode;
use dialtone_harness::failure::Failure;
use dialtone_harness::flow::Limits;
use dialtone_harness::flow::worker::{
    self, Asked, Attempt, Backend, Binaries, Model, Options, Way,
};
use dialtone_harness::span::{self, Unit};

use self::tools::Machine;
use crate::build::{self, NoBinaries, Selection};
use crate::cli::Common;
use crate::session::Session;

/// Heartbeats that can be watched: no more often than the worker takes, and no evening.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(60));

/// The timeout of a run that asks for none.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Flags of `worker:test`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Worker")]
pub struct Args {
    /// What computes. all = one case for each backend that this machine can have.
    #[arg(long, value_enum, default_value_t)]
    backend: BackendFlag,
    /// The device of the backend, by its number in `llm-worker backends`.
    #[arg(long, value_name = "N")]
    device: Option<u32>,
    /// A GGUF file, or the name of a fetched model: smollm2. Absent: the built-in model.
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// Port of the worker; a free one unless given.
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "18081")]
    port: Option<u16>,
    /// Port of the mock hive; a free one unless given.
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "19200")]
    hive_port: Option<u16>,
    /// How often the worker tells the hive of itself; a bare number is seconds.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "250ms",
        allow_negative_numbers = true,
        value_parser = interval,
    )]
    heartbeat_interval: Duration,
    #[command(flatten)]
    common: Common,
}

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum BackendFlag {
    /// The fastest one that the worker has here.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// NVIDIA GPUs.
    Cuda,
    /// Apple GPUs.
    Metal,
    /// GPUs with a Vulkan driver.
    Vulkan,
    /// Each of them, as a case of its own.
    All,
}

impl BackendFlag {
    fn asked(self) -> Vec<Asked> {
        match self {
            Self::Auto => vec![Asked::Auto],
            Self::Cpu => vec![Asked::One(Backend::Cpu)],
            Self::Cuda => vec![Asked::One(Backend::Cuda)],
            Self::Metal => vec![Asked::One(Backend::Metal)],
            Self::Vulkan => vec![Asked::One(Backend::Vulkan)],
            Self::All => Backend::ALL.map(Asked::One).to_vec(),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
            Self::Vulkan => "vulkan",
            Self::All => "all",
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let (least, most) = INTERVALS;
    let interval = span::parse(text, Unit::Seconds)?;
    match (least..=most).contains(&interval) {
        true => Ok(interval),
        false => Err(format!("must be {} to {}", span::human(least), span::human(most))),
    }
}

impl Args {
    /// The command that does the same again.
    fn again(&self, seed: u64) -> String {
        let mut text = format!("cargo xtask worker:test --backend {}", self.backend.as_str());
        let mut add = |flag: &str, value: Option<String>| {
            if let Some(value) = value {
                text += &format!(" --{flag} {value}");
            }
        };
        add("device", self.device.map(|device| device.to_string()));
        add("model", self.model.as_deref().map(shell));
        add("port", self.port.map(|port| port.to_string()));
        add("hive-port", self.hive_port.map(|port| port.to_string()));
        let interval = self.heartbeat_interval.as_millis();
        add("heartbeat-interval", (interval != 250).then(|| format!("{interval}ms")));
        let timeout = self.common.timeout;
        add("timeout", (timeout != TIMEOUT).then(|| written(timeout)));
        add("deadline", self.common.deadline.map(written));
        text + &format!(" --seed {seed}")
    }
}

/// A duration as a flag takes it.
fn written(time: Duration) -> String {
    match time.subsec_nanos() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_millis().max(1)),
    }
}

/// A word as a shell takes it.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,~".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Runs it.
pub async fn run(args: &Args) -> u8 {
    let common = &args.common;
    let mut session = Session::begin(worker::COMMAND, common.seed, &common.output);
    session.identity.again = args.again(session.identity.seed);
    // Before a build that may take minutes.
    let model = match model::find(args.model.as_deref()) {
        Ok(model) => model,
        Err(failure) => return session.refuse(&failure),
    };
    session.bus.emit(worker::opening(&session.identity, &model, args.backend.as_str()));
    if let Err(failure) = session.prepare() {
        return session.refuse(&failure);
    }
    let attempts = match attempts(args, &session).await {
        Ok(attempts) => attempts,
        Err(NoBinaries::Build(code)) => return code,
        Err(NoBinaries::Failure(failure)) => return session.refuse(&failure),
    };
    let matrix = args.backend == BackendFlag::All;
    let plan = if matrix { worker::CASES } else { worker::CHECKS };
    let run = match session.open(plan) {
        Ok(run) => run.keep(common.keep),
        Err(failure) => return session.refuse(&failure),
    };
    let options = options(args, model, attempts);
    let limits = Limits { interrupt: session.interrupt.clone(), deadline: common.deadline };
    let envelope = worker::run(run, &options, limits).await;
    session.exit(envelope)
}

fn options(args: &Args, model: Model, attempts: Vec<Attempt>) -> Options {
    Options {
        model,
        device: args.device,
        port: args.port.unwrap_or(0),
        hive_port: args.hive_port.unwrap_or(0),
        interval: args.heartbeat_interval,
        within: args.common.timeout,
        matrix: args.backend == BackendFlag::All,
        attempts,
    }
}

/// A worker for each backend, found or built. What is missing ends the command, unless it is one
/// of several.
async fn attempts(args: &Args, session: &Session) -> Result<Vec<Attempt>, NoBinaries> {
    let mut attempts = Vec::new();
    for asked in args.backend.asked() {
        let way = match worker_for(asked, args, session).await {
            Ok(binaries) => Way::Ready(binaries),
            Err(NoBinaries::Failure(why)) if may_lack(args, &why) => Way::Missing(why),
            Err(NoBinaries::Build(_)) if args.backend == BackendFlag::All => {
                let message = format!("llm-worker with {} did not build", asked.as_str());
                Way::Broken(Failure::new(ErrorCode::BuildFailed, message))
            }
            Err(other) => return Err(other),
        };
        attempts.push(Attempt { asked, way });
    }
    Ok(attempts)
}

fn may_lack(args: &Args, why: &Failure) -> bool {
    args.backend == BackendFlag::All && why.code == ErrorCode::ToolMissing
}

async fn worker_for(asked: Asked, args: &Args, session: &Session) -> Result<Binaries, NoBinaries> {
    let bin_dir = args.common.bin_dir.as_deref();
    let gpu = match asked {
        Asked::Auto | Asked::One(Backend::Cpu) => None,
        Asked::One(backend) => Some(backend),
    };
    let selection = match gpu {
        Some(backend) if bin_dir.is_none() => {
            tools::check(backend, &Machine::this())?;
            features::selection(backend)
        }
        _ => Selection::workspace(features::NAMES),
    };
    let (quiet, bus) = (args.common.output.quiet, &session.bus);
    let mut found = build::executables(&selection, bin_dir, quiet, bus, &session.interrupt).await?;
    let mut get = |name| found.remove(name).unwrap_or_default();
    Ok(Binaries { supervise: get("supervise"), llm_worker: get("llm-worker") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn read(line: &str) -> Args {
        let words = std::iter::once("worker:test").chain(line.split_whitespace());
        <Line as clap::Parser>::try_parse_from(words).expect("a command line").args
    }

    #[test]
    fn what_is_told_to_do_the_same_again_does_the_same() {
        for line in [
            "--backend auto --seed 7",
            "--backend cuda --device 1 --model a/b.gguf --seed 7",
            "--backend cpu --timeout 4s --deadline 1500ms --seed 7",
            "--backend all --port 18081 --hive-port 1 --heartbeat-interval 1500ms --seed 7",
        ] {
            assert_eq!(read(line).again(7), format!("cargo xtask worker:test {line}"));
        }
        assert_eq!(shell("a b'c"), r"'a b'\''c'");
    }

    #[test]
    fn a_bare_port_flag_means_the_well_known_port() {
        let args = read("--port --hive-port");
        assert_eq!((args.port, args.hive_port), (Some(18081), Some(19200)));
        let args = read("--port 5 --backend cpu");
        assert_eq!((args.port, args.hive_port), (Some(5), None));
    }

    #[test]
    fn an_interval_is_one_that_can_be_watched() {
        assert_eq!(interval("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(interval("30"), Ok(Duration::from_secs(30)));
        for bad in ["0", "49ms", "61", "-1", "often"] {
            assert!(interval(bad).is_err(), "{bad} was read");
        }
    }
}
