//! `sim`.

use std::path::PathBuf;

use clap::ValueEnum;
use dialtone_harness::event::Event;
use tokio::process::Command;

use super::recordings::{lab, spelled, tool};
use crate::cli::Output;
use crate::session::Session;

/// The command.
const COMMAND: &str = "sim";
/// Seeds unless told otherwise.
const SEEDS: u64 = 2_000;

/// Flags of `sim`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Simulation")]
pub struct Args {
    /// Seeds, each a history of its own: 2000, or one if --seed is given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    seeds: Option<u64>,
    /// First seed.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Entries of each batch.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    entries: u32,
    /// What may go wrong: all, none, or classes and faults with commas between them. A wrong
    /// name is answered with the list.
    #[arg(long, value_name = "LIST", default_value = "all")]
    faults: String,
    /// The engine under the pipeline: the memory engine, or SQLite with a database for each seed.
    #[arg(long, value_enum, default_value_t = Store::Mem)]
    store: Store,
    /// Plant known bugs, one after the other, and look whether each is caught.
    #[arg(long, conflicts_with = "mutant")]
    mutants: bool,
    /// Plant this bug, to see how a failure is told.
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Threads; the result does not depend on them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Run the `lab` in this folder and build nothing.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Store {
    Mem,
    Sqlite,
}

impl Args {
    fn seeds(&self) -> u64 {
        self.seeds.unwrap_or(if self.seed.is_some() { 1 } else { SEEDS })
    }

    fn flags(&self) -> Vec<String> {
        let mut flags = vec![
            format!("--seed={}", self.seed.unwrap_or(0)),
            format!("--seeds={}", self.seeds()),
            format!("--entries={}", self.entries),
            format!("--faults={}", self.faults),
            format!("--store={}", spelled(&self.store)),
        ];
        if self.mutants {
            flags.push("--mutants".to_owned());
        }
        flags.extend(self.mutant.as_ref().map(|name| format!("--mutant={name}")));
        flags
    }

    fn plan(&self) -> String {
        let what = match (self.mutants, &self.mutant) {
            (true, _) => "planted bugs, each looked for in up to ".to_owned(),
            (false, Some(name)) => format!("the bug {name}, looked for in up to "),
            (false, None) => String::new(),
        };
        format!(
            "{what}{} seeds of {} entries from seed {} on, faults: {}, store: {}",
            self.seeds(),
            self.entries,
            self.seed.unwrap_or(0),
            self.faults,
            spelled(&self.store)
        )
    }
}

/// Runs it.
pub async fn run(args: &Args) -> u8 {
    let mut session = Session::begin(COMMAND, Some(args.seed.unwrap_or(0)), &args.output);
    session.identity.again = format!("cargo xtask {COMMAND} {}", args.flags().join(" "));
    session.bus.emit(Event::RunStarted {
        command: COMMAND.to_owned(),
        run_id: session.identity.run_id.clone(),
        seed: session.identity.seed,
        real: vec!["the pipeline and its store".to_owned()],
        simulated: vec!["time, agents, LiveKit and what goes wrong".to_owned()],
        plan: args.plan(),
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
    command.args(["sim", "--lifeline", "--run-dir"]).arg(run.dir().path()).args(args.flags());
    if args.output.quiet {
        command.arg("--quiet");
    }
    if let Some(threads) = args.threads {
        command.arg(format!("--threads={threads}"));
    }
    tool::follow(&run, &mut command, &session.interrupt).await;
    let envelope = run.finish();
    session.exit(envelope)
}
