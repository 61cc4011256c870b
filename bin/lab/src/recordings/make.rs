//! `recordings-make`: calls of known truth as files, for other programs to be measured with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dialtone_recordings::truth::{Bank, Call, Condition, to_wav};
use serde_json::{Value, json};

use super::selftest::Half;
use crate::failure::Failure;
use crate::progress::say;

/// Which calls.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where they are put: CONDITION-SEED.wav, caller left, and truth.json.
    dir: PathBuf,
    /// Calls of each condition.
    #[arg(long, default_value_t = 10)]
    calls: u32,
    /// Which half of the seeds.
    #[arg(long, value_enum, default_value_t = Half::HeldOut)]
    half: Half,
    /// First seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs it.
pub fn run(args: &Args) -> ExitCode {
    match make(args) {
        Ok(many) => {
            say("Made", &format!("{many} calls in {}", args.dir.display()));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprint!("{}", failure.to_text());
            ExitCode::from(failure.code.exit().code())
        }
    }
}

fn make(args: &Args) -> Result<usize, Failure> {
    let cannot = |path: &Path, error| {
        Failure::environment(format!("cannot write {}", path.display()), error)
    };
    fs::create_dir_all(&args.dir).map_err(|error| cannot(&args.dir, error))?;
    let bank = Bank::built_in();
    let mut truth = Vec::new();
    for condition in Condition::ALL {
        for seed in args.half.seeds(args.seed, args.calls) {
            let call = Call::make(seed, condition, &bank);
            let file = format!("{condition}-{seed}.wav");
            let path = args.dir.join(&file);
            fs::write(&path, to_wav(&call.audio)).map_err(|error| cannot(&path, error))?;
            truth.push(described(&file, &call));
        }
    }
    let path = args.dir.join("truth.json");
    fs::write(&path, Value::from(truth.clone()).to_string())
        .map_err(|error| cannot(&path, error))?;
    Ok(truth.len())
}

fn described(file: &str, call: &Call) -> Value {
    let turns: Vec<Value> = call
        .turns
        .iter()
        .map(|turn| {
            json!({
                "kind": turn.kind, "caller": turn.caller, "agent": turn.agent,
                "rtt_ms": turn.rtt_ms(),
            })
        })
        .collect();
    json!({
        "file": file, "condition": call.condition.name(),
        "telephone_normal": call.condition.telephone_normal(),
        "duration_s": call.audio.duration_s(), "turns": turns,
    })
}
