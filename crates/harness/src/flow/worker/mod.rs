//! `worker:test`: one LLM worker under a mock hive, from the model file to its last words.

mod answers;
mod backend;
mod beats;
mod binary;
mod cancel;
pub(super) mod client;
mod crowd;
mod play;
mod restart;
mod setup;
mod shutdown;
mod transcript;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use dialtone_contract::ExitCode;

use super::verdict::teardown;
use super::{Guard, Limits};
use crate::envelope::Envelope;
use crate::event::Event;
use crate::failure::Failure;
use crate::run::{Identity, Run};
use crate::stack::Stack;

pub use backend::{Asked, Backend};

use self::play::Play;
use self::setup::Bench;

/// The command.
pub const COMMAND: &str = "worker:test";

/// Its checks, in order.
pub const CHECKS: &[&str] = &[
    "backend",
    "model",
    "hive",
    "spawn",
    "ready",
    "health",
    "inference",
    "stream",
    "parallel",
    "cancel",
    "heartbeats",
    "hive_restart",
    "shutdown",
    "teardown",
];

/// The checks of a run with a case for each backend.
pub const CASES: &[&str] = &["cpu", "cuda", "metal", "vulkan"];

/// What the built-in model is asked, and what it has learned to answer.
pub const BUILT_IN: (&str, &str) =
    ("What are your opening hours?", "We are open Monday to Friday from eight to six.");

/// The model of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Model {
    /// The one that the binary brings along.
    BuiltIn,
    /// A file.
    File(PathBuf),
}

impl Model {
    /// As the binary takes it.
    pub fn argument(&self) -> String {
        match self {
            Self::BuiltIn => "builtin".to_owned(),
            Self::File(path) => path.to_string_lossy().into_owned(),
        }
    }

    /// As the worker calls it: its file's name without the ending.
    pub fn id(&self) -> String {
        match self {
            Self::BuiltIn => "builtin".to_owned(),
            Self::File(path) => {
                path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
            }
        }
    }
}

/// The processes of a worker run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binaries {
    /// Holds children.
    pub supervise: PathBuf,
    /// The worker.
    pub llm_worker: PathBuf,
}

/// One backend to try.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What is asked for.
    pub asked: Asked,
    /// What runs it.
    pub way: Way,
}

/// What became of getting a worker with a backend.
#[derive(Clone, Debug)]
pub enum Way {
    /// It is there.
    Ready(Binaries),
    /// It cannot be had on this machine: a reason to skip.
    Missing(Failure),
    /// It should be there and is not.
    Broken(Failure),
}

/// What shall be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model.
    pub model: Model,
    /// The device, where one is asked for.
    pub device: Option<u32>,
    /// Port of the worker; 0 takes a free one.
    pub port: u16,
    /// Port of the hive; 0 takes a free one.
    pub hive_port: u16,
    /// How often the worker shall beat.
    pub interval: Duration,
    /// How long the worker may take to be ready, and each of its answers.
    pub within: Duration,
    /// Whether each attempt is a case of its own.
    pub matrix: bool,
    /// The backends.
    pub attempts: Vec<Attempt>,
}

/// The first event of such a run.
pub fn opening(identity: &Identity, model: &Model, asked: &str) -> Event {
    let model = match model {
        Model::BuiltIn => "the built-in model".to_owned(),
        Model::File(path) => path.display().to_string(),
    };
    Event::RunStarted {
        command: identity.command.to_owned(),
        run_id: identity.run_id.clone(),
        seed: identity.seed,
        real: ["processes", "HTTP", "model", "time"].map(str::to_owned).to_vec(),
        simulated: vec!["hive (in this process)".to_owned()],
        plan: format!("{model} on backend {asked}"),
    }
}

/// Runs it. Whatever happens, the worker is gone and the result written when this returns.
pub async fn run(run: Run, options: &Options, limits: Limits) -> Envelope {
    let guard = Guard::new(limits);
    for attempt in &options.attempts {
        let bench = Bench { run: &run, options, guard: &guard, asked: attempt.asked };
        if options.matrix {
            run.begin_case(attempt.asked.as_str(), CHECKS);
        }
        let went = match &attempt.way {
            Way::Ready(binaries) => one(&bench, binaries).await,
            Way::Missing(why) => {
                run.skip_for("backend", Duration::ZERO, why.clone());
                Ok(())
            }
            Way::Broken(why) => {
                run.fail("backend", Duration::ZERO, why.clone());
                Ok(())
            }
        };
        if options.matrix {
            run.end_case();
        }
        if went.is_err() {
            // A signal or the deadline ends the run, not a case.
            break;
        }
    }
    guard.last_signal(&run);
    run.finish()
}

/// The run was ended from outside.
struct Cut;

/// One worker, from its model to its end. What goes wrong is told here.
async fn one(bench: &Bench<'_>, binaries: &Binaries) -> Result<(), Cut> {
    let Bench { run, guard, .. } = bench;
    let began = Instant::now();
    let ground = match bench.ground(binaries).await {
        Ok(Some(ground)) => ground,
        // Skipped, with its reason.
        Ok(None) => return Ok(()),
        Err(failure) => {
            let cut = is_cut(&failure);
            run.error(failure);
            return cut;
        }
    };
    let (stack, mut scene) = match bench.spawn(binaries, ground).await {
        Ok(spawned) => spawned,
        Err(failure) => {
            let cut = is_cut(&failure);
            run.error(failure);
            let down = Instant::now();
            teardown(run, down, &Stack::sweep(run.dir()).await);
            return cut;
        }
    };
    guard.step.set("starting the worker");
    let mut play = Play::new(bench, &stack, &mut scene, began);
    let mut cut = Ok(());
    match play.through().await {
        Ok(()) => play.shut_down().await,
        Err(failure) => {
            cut = is_cut(&failure);
            // Told at once: taking the stack down can take seconds.
            run.error(failure);
        }
    }
    let down = Instant::now();
    let mut left = stack.stop().await;
    run.metric("heartbeats", count(scene.hive.book().total()));
    let port = scene.hive.port();
    scene.hive.stop().await;
    left.look_at("hive", port);
    teardown(run, down, &left);
    cut
}

fn is_cut(failure: &Failure) -> Result<(), Cut> {
    match failure.exit {
        ExitCode::Interrupted | ExitCode::Terminated | ExitCode::Deadline => Err(Cut),
        _ => Ok(()),
    }
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "counts of one run are small")]
fn count(n: u64) -> f64 {
    n as f64
}

/// A duration as a figure.
fn ms(took: Duration) -> f64 {
    crate::envelope::millis(took)
}
