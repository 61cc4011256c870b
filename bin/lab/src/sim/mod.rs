//! `sim`: the pipeline in virtual time, seed by seed, with everything that can go wrong.

mod engines;
mod planted;
mod table;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use dialtone_contract::ErrorCode;
use dialtone_harness::envelope::{Check, CheckStatus};
use dialtone_harness::failure::Failure;
use dialtone_harness::tool::Told;
use dialtone_sim::{Case, Engines, Mutant, Selection, Totals, memory, shrink, sweep, telling};

use self::engines::Sqlite;
use crate::interrupt::Leftovers;
use crate::progress::say;
use crate::recordings::tell::{check, tell, text};

/// The trace as a file.
const TRACE: &str = "trace.txt";
/// Lines of a trace that are told.
const TOLD_LINES: usize = 24;
/// Seeds of a run that are simulated a second time, the same way.
const AGAIN: u64 = 16;
/// The same where all of them are simulated over another engine, too.
const AGAIN_OF_BOTH: u64 = 3;
/// Seeds from which on every fault has to have struck.
const MANY: u64 = 1000;
/// Time between two lines about how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// What is simulated.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seeds.
    #[arg(long)]
    seeds: u64,
    /// First seed.
    #[arg(long)]
    seed: u64,
    /// Entries of each batch.
    #[arg(long)]
    entries: u32,
    /// Faults that may strike.
    #[arg(long)]
    faults: Selection,
    /// The engine under the pipeline.
    #[arg(long, value_enum)]
    store: Store,
    /// Whether each planted bug is caught.
    #[arg(long)]
    mutants: bool,
    /// One bug to plant.
    #[arg(long, value_parser = mutant)]
    mutant: Option<Mutant>,
    /// Threads; all processors if absent.
    #[arg(long)]
    threads: Option<usize>,
    /// Do not say how far it is.
    #[arg(long)]
    quiet: bool,
    /// Where files of the run are put.
    #[arg(long)]
    run_dir: PathBuf,
    /// End when stdin does: whoever holds its other end is gone then.
    #[arg(long)]
    lifeline: bool,
}

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Store {
    /// In memory.
    Mem,
    /// SQLite, a new database for each seed.
    Sqlite,
}

fn mutant(text: &str) -> Result<Mutant, String> {
    let found = Mutant::ALL.iter().find(|mutant| mutant.as_str() == text).copied();
    let names: Vec<_> = Mutant::ALL.iter().map(|mutant| mutant.as_str()).collect();
    found.ok_or_else(|| format!("expected one of {}", names.join(", ")))
}

/// Runs it. What comes of it is told; the exit code only says whether everything was.
pub fn run(args: &Args) -> ExitCode {
    let leftovers = Leftovers::listen(args.lifeline);
    let told = match args.store {
        Store::Mem => simulate(args, &memory),
        Store::Sqlite => Sqlite::new(&leftovers).and_then(|sqlite| {
            let told = simulate(args, &|clock| sqlite.open(clock));
            leftovers.clear();
            told
        }),
    };
    if let Err(failure) = told {
        tell(&Told::failure(&failure));
    }
    tell(&Told::Done);
    ExitCode::SUCCESS
}

fn simulate(args: &Args, engines: Engines<'_>) -> Result<(), Failure> {
    let Args { entries, faults, mutant, .. } = args;
    let case = Case { entries: *entries, faults: faults.clone(), mutant: *mutant, engines };
    let threads = args.threads.unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
    });
    if args.mutants {
        planted::run(args, &case, threads);
        return Ok(());
    }
    let (began, mut progress) = (Instant::now(), Progress::new(args, "seeds"));
    let range = args.seed..args.seed.saturating_add(args.seeds);
    let totals = sweep(&case, range, threads, |done| progress.at(done));
    let took = began.elapsed();
    progress.clear();
    tell(&Told::Simulated { simulated_s: totals.simulated.as_secs_f64() });
    text(table::text(args, &totals, took, threads));
    table::metrics(&totals, took);
    if let Some(seed) = totals.wrong {
        return wrong(args, &case, seed, took);
    }
    let seeds = table::grouped(totals.seeds);
    check("invariants", true, took, format!("hold in {seeds} seeds"), "");
    check("liveness", true, took, "every batch ends once nothing goes wrong any more".into(), "");
    repeatable(args, &case);
    distinct(&totals, took);
    every_fault(args, &totals, took);
    if args.store == Store::Sqlite {
        same_as_memory(args, &case, &totals, threads);
    }
    if args.seeds == 1 {
        keep_trace(args, &case.run(args.seed, true).trace)?;
        text(format!("{:>12} {TRACE} in the run folder\n", "trace"));
    }
    Ok(())
}

/// Tells the shortest way to see what goes wrong with a seed.
fn wrong(args: &Args, case: &Case<'_>, seed: u64, took: Duration) -> Result<(), Failure> {
    let least = shrink(case, seed);
    let outcome = least.run(seed, true);
    let violation = least.wrong(&outcome).cloned();
    let Some(violation) = violation else {
        let text = format!("seed {seed} went wrong once, and then did not");
        return Err(Failure::new(ErrorCode::InvariantBroken, text)
            .hint("look for what no seed decides: time, threads, the order of a hash map"));
    };
    let mut again = format!("cargo xtask sim --seed={seed} --seeds=1 --entries={}", least.entries);
    again.push_str(&format!(" --faults={} --store={}", least.faults, spelled(args.store)));
    if let Some(mutant) = args.mutant {
        again.push_str(&format!(" --mutant={}", mutant.as_str()));
    }
    let lines = telling(&outcome.trace, &violation, TOLD_LINES).join("\n");
    text(format!(
        "\nseed {seed}, what led to it (whole trace: {TRACE} in the run folder)\n{lines}\n"
    ));
    keep_trace(args, &outcome.trace)?;
    let lively = "did not end";
    let name = if violation.contains(lively) { "liveness" } else { "invariants" };
    let more = outcome.violations.len().saturating_sub(1);
    let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
    let mut broken =
        Check::new(name, CheckStatus::Failed, took, format!("seed {seed}: {violation}{more}"));
    broken.code = Some(ErrorCode::InvariantBroken);
    broken.hint = Some(again);
    tell(&Told::Check(broken));
    Ok(())
}

fn spelled(store: Store) -> &'static str {
    match store {
        Store::Mem => "mem",
        Store::Sqlite => "sqlite",
    }
}

/// The same seed twice is the same history.
fn repeatable(args: &Args, case: &Case<'_>) {
    let began = Instant::now();
    let many = args.seeds.min(match args.store {
        Store::Mem => AGAIN,
        Store::Sqlite => AGAIN_OF_BOTH,
    });
    let step = (args.seeds / many.max(1)).max(1);
    let other = (0..many).map(|n| args.seed + n * step).find(|seed| {
        let (once, again) = (case.run(*seed, false), case.run(*seed, false));
        (once.trace_hash, once.events, once.struck)
            != (again.trace_hash, again.events, again.struck)
    });
    let detail = match other {
        Some(seed) => format!("seed {seed} had two histories"),
        None => format!("{many} seeds simulated again: the same trace hashes"),
    };
    let hint = "look for what no seed decides: time, threads, the order of a hash map";
    check("same_seed_same_trace", other.is_none(), began.elapsed(), detail, hint);
}

/// Seeds differ, or they test less than they seem to.
fn distinct(totals: &Totals, took: Duration) {
    let (distinct, seeds) = (totals.traces.len() as u64, totals.seeds);
    let detail = format!("{} of {}", table::grouped(distinct), table::grouped(seeds));
    let hint = "look at what the seed no longer decides";
    check("distinct_traces", distinct * 100 >= seeds * 99, took, detail, hint);
}

/// Every fault that may strike has struck.
fn every_fault(args: &Args, totals: &Totals, took: Duration) {
    if args.seeds < MANY {
        return;
    }
    let missing: Vec<_> = args
        .faults
        .iter()
        .filter(|fault| fault.strikes_alone() && !totals.struck.contains_key(fault))
        .map(|fault| fault.as_str())
        .collect();
    let detail = match missing.as_slice() {
        [] => "all that may".to_owned(),
        missing => format!("never: {}", missing.join(", ")),
    };
    let hint = "more entries, or other faults with these";
    check("every_fault_struck", missing.is_empty(), took, detail, hint);
}

/// Both engines have the same histories.
fn same_as_memory(args: &Args, case: &Case<'_>, totals: &Totals, threads: usize) {
    let began = Instant::now();
    let on_memory = Case { engines: &memory, ..case.clone() };
    let range = args.seed..args.seed.saturating_add(args.seeds);
    let same = sweep(&on_memory, range.clone(), threads, |_| {}).digest == totals.digest;
    let differs =
        |seed: &u64| on_memory.run(*seed, false).trace_hash != case.run(*seed, false).trace_hash;
    let detail = match same {
        true => format!("{} histories are the same", table::grouped(totals.seeds)),
        false => match range.into_iter().find(differs) {
            Some(seed) => format!("seed {seed} has another history than on the memory engine"),
            None => "the sweep's digests differ, and no seed does when it runs alone".to_owned(),
        },
    };
    let hint = "run the seed with --store=mem and --store=sqlite, and compare their traces";
    check("same_as_memory_engine", same, began.elapsed(), detail, hint);
}

fn keep_trace(args: &Args, lines: &[String]) -> Result<(), Failure> {
    let path: &Path = &args.run_dir.join(TRACE);
    let cannot = |error| Failure::environment(format!("cannot write {}: {error}", path.display()));
    std::fs::write(path, lines.join("\n") + "\n").map_err(cannot)?;
    tell(&Told::Artifact { name: "trace".to_owned(), path: TRACE.to_owned() });
    Ok(())
}

/// How far it is: one line that is redrawn on a terminal, else a line now and then.
struct Progress {
    what: &'static str,
    of: u64,
    quiet: bool,
    terminal: bool,
    told: Instant,
    drawn: bool,
}

impl Progress {
    fn new(args: &Args, what: &'static str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let of = args.seeds;
        Self { what, of, quiet: args.quiet, terminal, told: Instant::now(), drawn: false }
    }

    fn at(&mut self, done: u64) {
        let pause = if self.drawn { Duration::ZERO } else { PROGRESS_EVERY };
        if self.quiet || self.told.elapsed() < pause {
            return;
        }
        self.told = Instant::now();
        let (done, of) = (table::grouped(done), table::grouped(self.of));
        let line = format!("{done} of {of} {}", self.what);
        if self.terminal {
            self.drawn = true;
            let _ = write!(std::io::stderr(), "\r\x1b[K{:>12} {line}", "Simulated");
        } else {
            say("Simulated", &line);
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
