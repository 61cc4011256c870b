//! `recordings-analyze`: who answered whom, and how late, in recordings of calls.

mod files;
mod heard;
mod limits;
mod lines;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use clap::ValueEnum;
use dialtone_contract::ErrorCode;
use dialtone_harness::failure::Failure;
use dialtone_harness::tool::Told;
use dialtone_recordings::truth::Score;
use dialtone_recordings::vad::GateKind;
use dialtone_recordings::{CallerChannel, Definition, Options, Summary};

use self::heard::Heard;
use self::source::{Found, Recording};
use super::tell::{metric, tell, text};
use super::twilio;
use crate::interrupt::Leftovers;

/// Warnings that are told; the rest stands on the page.
const WARNINGS: usize = 12;

/// Which recordings, and how they are read.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Recordings, and folders of them. None, and no source: calls that are made up.
    paths: Vec<PathBuf>,
    /// Where else recordings are.
    #[arg(long, value_enum)]
    source: Option<Source>,
    /// Where the caller is.
    #[arg(long, value_enum, default_value_t = Caller::Left)]
    caller_channel: Caller,
    /// What decides whether there is speech.
    #[arg(long, value_enum, default_value_t = Gate::Silero)]
    vad: Gate,
    /// From where a latency counts.
    #[arg(long, value_enum, default_value_t = From::End)]
    definition: From,
    /// Silence of both for longer is dead air, in seconds.
    #[arg(long, default_value_t = 3.0)]
    dead_air: f64,
    /// The CSV file, beside the one of the run.
    #[arg(long, env = "OUT_CSV")]
    out: Option<PathBuf>,
    /// What has to hold.
    #[arg(long)]
    threshold: Vec<String>,
    /// Seed of the calls that are made up.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where files of the run are put.
    #[arg(long)]
    run_dir: PathBuf,
    /// End when stdin does: whoever holds its other end is gone then.
    #[arg(long)]
    lifeline: bool,
    #[command(flatten)]
    twilio: twilio::Args,
}

/// Where else recordings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Source {
    /// In a Twilio account.
    Twilio,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Caller {
    Left,
    Right,
    Auto,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Gate {
    Silero,
    Webrtc,
    Energy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    End,
    Start,
}

impl Args {
    fn options(&self) -> Options {
        Options {
            gate: match self.vad {
                Gate::Silero => GateKind::Silero,
                Gate::Webrtc => GateKind::Webrtc,
                Gate::Energy => GateKind::Energy,
            },
            caller: match self.caller_channel {
                Caller::Left => CallerChannel::Left,
                Caller::Right => CallerChannel::Right,
                Caller::Auto => CallerChannel::Auto,
            },
            definition: match self.definition {
                From::End => Definition::End,
                From::Start => Definition::Start,
            },
            dead_air_s: self.dead_air,
            ..Options::default()
        }
    }
}

/// Runs it. What comes of it is told; the exit code only says whether everything was.
pub fn run(args: &Args) -> ExitCode {
    let _leftovers = Leftovers::listen(args.lifeline);
    if let Err(failure) = analyze(args) {
        tell(&Told::failure(&failure));
    }
    tell(&Told::Done);
    ExitCode::SUCCESS
}

fn analyze(args: &Args) -> Result<(), Failure> {
    let thresholds = limits::read(&args.threshold)?;
    let Found { recordings, left_out, by } = source::find(args)?;
    if let Some(by) = &by {
        tell(&Told::Note { text: by.clone() });
    }
    if args.definition == From::Start {
        let text = "latency counts from the caller's start, as older tools have it: it holds what \
                    the caller said, and is only good for comparison with their figures";
        tell(&Told::Note { text: text.to_owned() });
    }
    if recordings.is_empty() {
        let mut failure = Failure::new(ErrorCode::NoRecordings, "there is no recording to analyse");
        failure = failure.evidence(left_out.iter().map(|(name, why)| format!("{name}: {why}")));
        if args.source.is_none() {
            failure = failure.hint(
                "give .wav or .mp3 files, or folders of them; no argument at all analyses calls \
                 that are made up",
            );
        }
        return Err(failure);
    }
    for (name, why) in &left_out {
        tell(&Told::Warning { text: format!("{name} is left out: {why}") });
    }
    let names = source::names(&recordings);
    let options = args.options();
    let (calls, bad) = hear(&recordings, &names, &options);
    let not_read: Vec<_> = left_out.into_iter().chain(bad).collect();
    let findings: Vec<_> = calls.iter().map(|(_, heard)| &heard.findings).collect();
    let summary = Summary::of(&findings);
    let figures = limits::figures(&summary);
    text(lines::total(&summary, &score(&calls)));
    for (name, value) in &figures {
        metric(name.clone(), Some(*value));
    }
    metric("recordings", Some(recordings.len() as f64));
    metric("recordings_analyzed", Some(calls.len() as f64));
    let verdicts = limits::judge(&thresholds, &findings, &figures);
    let report = files::Report {
        names: &names,
        recordings: &recordings,
        calls: &calls,
        not_read: &not_read,
        summary: &summary,
        verdicts: &verdicts,
        options: &options,
    };
    files::write(&report, &args.run_dir, out(args).as_deref())?;
    limits::tell(&verdicts);
    Ok(())
}

/// A recording that was heard, with its number.
type Call = (usize, Heard);
/// One that was not, with the reason.
type NotRead = (String, String);

/// Hears every recording, and tells it; those that were heard, and those that were not.
fn hear(
    recordings: &[Recording],
    names: &[String],
    options: &Options,
) -> (Vec<Call>, Vec<NotRead>) {
    let (mut calls, mut bad) = (Vec::new(), Vec::new());
    let mut warnings = 0;
    in_order(recordings, options, |n, came| match came {
        Ok(heard) => {
            tell(&Told::Check(lines::row(&names[n], &heard)));
            for text in lines::warnings(&names[n], &heard) {
                warnings += 1;
                if warnings <= WARNINGS {
                    tell(&Told::Warning { text });
                }
            }
            calls.push((n, heard));
        }
        Err(failure) => {
            bad.push((names[n].clone(), failure.message.clone()));
            tell(&Told::Check(lines::bad(&names[n], &failure)));
        }
    });
    if warnings > WARNINGS {
        let text = format!("{} more warnings stand on the page of the run", warnings - WARNINGS);
        tell(&Told::Warning { text });
    }
    (calls, bad)
}

/// The CSV file that the user asked for, or that users of older tools expect: with recordings of
/// one's own it is in the working directory.
fn out(args: &Args) -> Option<PathBuf> {
    let own = !args.paths.is_empty() || args.source.is_some();
    let out = args.out.clone().filter(|out| !out.as_os_str().is_empty());
    out.or_else(|| own.then(|| PathBuf::from("latency.csv")))
}

/// What was found, held against the truth, where that is known.
fn score(calls: &[(usize, Heard)]) -> Option<Score> {
    let mut total: Option<Score> = None;
    for (_, heard) in calls {
        let Some(truth) = &heard.truth else { continue };
        let score = Score::of(&heard.findings.turns, truth);
        total.get_or_insert_default().add(&score);
    }
    total
}

/// Analyses the recordings on all processors and hands each on in its turn.
fn in_order(
    recordings: &[Recording],
    options: &Options,
    mut take: impl FnMut(usize, Result<Heard, Failure>),
) {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(recordings.len());
    let (done, came) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (done, next) = (done.clone(), &next);
            scope.spawn(move || {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some(recording) = recordings.get(n) else { break };
                    if done.send((n, heard::listen(recording, options))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(done);
        let mut early = BTreeMap::new();
        let mut due = 0;
        for (n, result) in came {
            early.insert(n, result);
            while let Some(result) = early.remove(&due) {
                take(due, result);
                due += 1;
            }
        }
    });
}
