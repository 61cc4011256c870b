//! `recordings-selftest`: what the analysis finds, held against calls whose truth is known.

mod bounds;
mod people;
mod table;
mod trial;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::ValueEnum;
use dialtone_harness::failure::Failure;
use dialtone_harness::tool::Told;
use dialtone_recordings::truth::{Bank, Condition};
use dialtone_recordings::vad::GateKind;

use self::bounds::Pools;
use self::trial::{Outcome, Trial};
use super::tell::{check, metric, skip, tell, text};
use crate::interrupt::Leftovers;

/// The table as a file.
const ERRORS: &str = "errors.csv";

/// What is tried.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which gate.
    #[arg(long, default_value = "all", value_parser = gates)]
    vad: Gates,
    /// Calls of each condition.
    #[arg(long, default_value_t = 10)]
    calls: u32,
    /// Which half of the seeds.
    #[arg(long, value_enum, default_value_t = Half::HeldOut)]
    half: Half,
    /// First seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where prompts spoken by people are.
    #[arg(long, default_value = "/usr/share/asterisk/sounds")]
    sounds: PathBuf,
    /// Where files of the run are put.
    #[arg(long)]
    run_dir: PathBuf,
    /// End when stdin does: whoever holds its other end is gone then.
    #[arg(long)]
    lifeline: bool,
}

/// Which half of the seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Half {
    /// Odd ones, which nothing was tuned on.
    HeldOut,
    /// Even ones.
    Tuning,
}

impl Half {
    /// The seeds of so many calls.
    pub fn seeds(self, first: u64, calls: u32) -> Vec<u64> {
        let odd = u64::from(self == Self::HeldOut);
        (0..u64::from(calls)).map(|n| (first + n).wrapping_mul(2).wrapping_add(odd)).collect()
    }
}

#[derive(Clone, Debug)]
struct Gates(Vec<GateKind>);

fn gates(text: &str) -> Result<Gates, String> {
    if text == "all" {
        return Ok(Gates(GateKind::ALL.to_vec()));
    }
    let found = GateKind::ALL.into_iter().find(|gate| gate.as_str() == text);
    found.map(|gate| Gates(vec![gate])).ok_or_else(|| "silero, webrtc, energy or all".to_owned())
}

/// Runs it. What comes of it is told; the exit code only says whether everything was.
pub fn run(args: &Args) -> ExitCode {
    let _leftovers = Leftovers::listen(args.lifeline);
    if let Err(failure) = selftest(args) {
        tell(&Told::failure(&failure));
    }
    tell(&Told::Done);
    ExitCode::SUCCESS
}

fn selftest(args: &Args) -> Result<(), Failure> {
    let Gates(gates) = &args.vad;
    let seeds = args.half.seeds(args.seed, args.calls);
    let trial = Trial { bank: Bank::built_in(), gates, conditions: &Condition::ALL, seeds: &seeds };
    let began = Instant::now();
    let outcomes = trial.run();
    let took = began.elapsed();
    let mut csv = table::csv_head();
    for outcome in &outcomes {
        text(table::text(outcome));
        csv.push_str(&table::csv("made", outcome));
        metrics(outcome);
    }
    for outcome in &outcomes {
        let default = outcome.gate == GateKind::default();
        let of = if default { String::new() } else { format!("{}_", outcome.gate.as_str()) };
        for bound in bounds::MADE.iter().filter(|bound| default || bound.is_for_every_gate()) {
            let (name, passed, detail) = bound.judge(&outcome.pools());
            check(&format!("{of}{name}"), passed, took, detail, bounds::HINT);
        }
    }
    people_too(args, &seeds, &mut csv)?;
    write(&args.run_dir.join(ERRORS), &csv)?;
    tell(&Told::Artifact { name: "errors".to_owned(), path: ERRORS.to_owned() });
    Ok(())
}

/// The same with prompts that people spoke, where there are any.
fn people_too(args: &Args, seeds: &[u64], csv: &mut String) -> Result<(), Failure> {
    let Gates(gates) = &args.vad;
    let bank = match people::bank(&args.sounds) {
        Ok(bank) => bank,
        Err(why) => {
            skip("people", why);
            return Ok(());
        }
    };
    let began = Instant::now();
    let voices = bank.voices().join(", ");
    let conditions: Vec<Condition> =
        Condition::ALL.into_iter().filter(|condition| condition.telephone_normal()).collect();
    let trial = Trial { bank, gates, conditions: &conditions, seeds };
    for outcome in trial.run() {
        text(format!("\nspoken by people ({voices})\n{}", table::text(&outcome)));
        csv.push_str(&table::csv("people", &outcome));
        if outcome.gate == GateKind::default() {
            for bound in bounds::PEOPLE {
                let (name, passed, detail) = bound.judge(&outcome.pools());
                check(&format!("people_{name}"), passed, began.elapsed(), detail, bounds::HINT);
            }
        }
    }
    Ok(())
}

/// The figures of a gate: those of the default gate under their fixed names.
fn metrics(outcome: &Outcome) {
    let Pools { all, telephone } = outcome.pools();
    let default = outcome.gate == GateKind::default();
    let of = if default { String::new() } else { format!("{}_", outcome.gate.as_str()) };
    for (pool, score) in [("", &all), ("telephone_", &telephone)] {
        let name = |figure: &str| format!("{of}{pool}{figure}");
        metric(name("turns"), Some(f64::from(score.turns)));
        metric(name("missed_percent"), score.missed_percent());
        metric(name("false_percent"), score.false_percent());
        metric(name("bias_ms"), score.bias_ms());
        metric(name("mae_ms"), score.mae_ms());
        metric(name("p95_error_ms"), score.p95_error_ms());
    }
    metric(format!("{of}barge_in_recall_percent"), all.barge_ins.recall());
    metric(format!("{of}barge_in_precision_percent"), all.barge_ins.precision());
    metric(format!("{}_real_time_factor", outcome.gate.as_str()), outcome.times_real_time());
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let cannot = |error| Failure::environment(format!("cannot write {}: {error}", path.display()));
    fs::write(path, text).map_err(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_seed_is_in_both_halves() {
        let (held_out, tuning) = (Half::HeldOut.seeds(3, 50), Half::Tuning.seeds(3, 50));
        assert_eq!(held_out[..2], [7, 9]);
        assert_eq!(tuning[..2], [6, 8]);
        assert!(held_out.iter().all(|seed| !tuning.contains(seed)));
    }
}
