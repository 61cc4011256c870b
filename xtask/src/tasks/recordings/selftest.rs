//! `recordings:selftest`.

use std::path::PathBuf;

use clap::ValueEnum;
use dialtone_harness::event::Event;
use tokio::process::Command;

use super::{lab, spelled, tool};
use crate::cli::Output;
use crate::session::Session;

/// The command.
const COMMAND: &str = "recordings:selftest";

/// Flags of `recordings:selftest`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Self-test")]
pub struct Args {
    /// Which gate. The default gate, silero, must keep to all bounds, the others to those for
    /// ordinary calls.
    #[arg(long, value_enum, default_value_t = Gate::All)]
    vad: Gate,
    /// Calls of each condition, 85 seconds each.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    calls: u32,
    /// Which half of the seeds: the one that parameters are tuned on is never the one that is
    /// reported.
    #[arg(long, value_enum, default_value_t = Half::HeldOut)]
    half: Half,
    /// Where prompts spoken by people are (Debian's asterisk-core-sounds-*-wav), made into calls
    /// of their own.
    #[arg(long, value_name = "DIR", default_value = "/usr/share/asterisk/sounds")]
    sounds: PathBuf,
    /// First seed of the calls.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Run the `lab` in this folder and build nothing.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Gate {
    All,
    Silero,
    Webrtc,
    Energy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Half {
    /// Odd seeds, which nothing was tuned on.
    HeldOut,
    /// Even seeds.
    Tuning,
}

impl Args {
    /// Flags, without the sounds, which are a place of this machine.
    fn flags(&self) -> Vec<String> {
        let Self { calls, seed, .. } = self;
        vec![
            format!("--vad={}", spelled(&self.vad)),
            format!("--calls={calls}"),
            format!("--half={}", spelled(&self.half)),
            format!("--seed={seed}"),
        ]
    }
}

/// Runs it.
pub async fn run(args: &Args) -> u8 {
    let mut session = Session::begin(COMMAND, Some(args.seed), &args.output);
    session.identity.again = format!("cargo xtask {COMMAND} {}", args.flags().join(" "));
    session.bus.emit(Event::RunStarted {
        command: COMMAND.to_owned(),
        run_id: session.identity.run_id.clone(),
        seed: args.seed,
        real: Vec::new(),
        simulated: vec!["the calls".to_owned()],
        plan: format!(
            "{} calls in each condition with known truth, {} seeds, gate {}",
            args.calls,
            spelled(&args.half),
            spelled(&args.vad)
        ),
    });
    if let Err(failure) = session.prepare() {
        return session.refuse(&failure);
    }
    let lab = match lab(&session, args.bin_dir.as_ref(), args.output.quiet).await {
        Ok(lab) => lab,
        Err(code) => return code,
    };
    let run = match session.open(Vec::new()) {
        Ok(run) => run,
        Err(failure) => return session.refuse(&failure),
    };
    let mut command = Command::new(lab);
    command.args(["recordings-selftest", "--lifeline", "--run-dir"]).arg(run.dir().path());
    command.args(args.flags()).arg("--sounds").arg(&args.sounds);
    tool::follow(&run, &mut command, &session.interrupt).await;
    let envelope = run.finish();
    session.exit(envelope)
}
