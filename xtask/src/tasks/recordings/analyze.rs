//! `recordings:analyze`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ValueEnum;
use dialtone_harness::event::Event;
use tokio::process::Command;

use super::{lab, spelled, tool};
use crate::cli::Output;
use crate::session::Session;

/// The command.
const COMMAND: &str = "recordings:analyze";

/// Flags of `recordings:analyze`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Recordings")]
pub struct Args {
    /// Recordings (WAV or MP3, caller and agent on channels of their own), and folders of them.
    /// None, and no --source: calls that are made up, whose truth is known.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where the caller is; auto goes by what is behind the voices.
    #[arg(long, value_enum, default_value_t = Caller::Left)]
    caller_channel: Caller,
    /// What decides whether there is speech: silero is the best, webrtc and energy are faster.
    #[arg(long, value_enum, default_value_t = Gate::Silero)]
    vad: Gate,
    /// From where a response latency counts: the end of the caller's speech, or, for comparison
    /// with older tools, its start.
    #[arg(long, value_enum, default_value_t = Definition::End)]
    definition: Definition,
    /// Silence of both for longer than this is dead air, in seconds.
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    dead_air: f64,
    /// Also put the CSV file there. Absent: OUT_CSV, else latency.csv, for recordings of your own.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What has to hold, such as 'p(95)<600' (ms of response latency), 'med<=400' or
    /// 'unanswered_percent<2'; exit code 99 if it does not. May be given more than once.
    #[arg(long, value_name = "EXPR")]
    threshold: Vec<String>,
    /// Seed of the calls that are made up.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Run the `lab` in this folder and build nothing.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    #[command(flatten)]
    twilio: Twilio,
    // Last: its heading would take over what comes after it.
    #[command(flatten)]
    output: Output,
}

/// Recordings of a Twilio account. TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN are its credentials.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Source")]
struct Twilio {
    /// Where else recordings are.
    #[arg(long, value_enum, conflicts_with = "paths")]
    source: Option<Source>,
    /// The run whose recordings are fetched. Absent: RUN_TAG, else loadtest.
    #[arg(long, requires = "source")]
    tag: Option<String>,
    /// Lines `tag,call_sid`, or JSON lines with run_tag and call_sid: which call belonged to which
    /// run.
    #[arg(long, value_name = "FILE", requires = "source")]
    manifest: Option<PathBuf>,
    /// Where neither the manifest nor names of conferences say which: from this day on ..
    #[arg(long, value_name = "YYYY-MM-DD", requires = "source")]
    since: Option<String>,
    /// .. and up to this one.
    #[arg(long, value_name = "YYYY-MM-DD", requires = "source")]
    until: Option<String>,
    /// The account. Absent: TWILIO_ACCOUNT_SID.
    #[arg(long, value_name = "SID", requires = "source")]
    account_sid: Option<String>,
    /// A file with the account's token. Absent: TWILIO_AUTH_TOKEN, or TWILIO_AUTH_TOKEN_FILE.
    #[arg(long, value_name = "FILE", requires = "source")]
    auth_token_file: Option<PathBuf>,
    /// Where the API is.
    #[arg(long, value_name = "URL", requires = "source")]
    twilio_url: Option<String>,
    /// Where fetched recordings are kept.
    #[arg(long, value_name = "DIR", requires = "source")]
    cache: Option<PathBuf>,
    /// How long to wait for recordings that Twilio has not finished, in seconds.
    #[arg(long, value_name = "S", requires = "source")]
    wait: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Source {
    /// A Twilio account.
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
enum Definition {
    End,
    Start,
}

impl Args {
    /// The flags of `lab`, which are those that were given.
    fn flags(&self) -> Vec<OsString> {
        let mut flags: Vec<OsString> = vec![
            format!("--caller-channel={}", spelled(&self.caller_channel)).into(),
            format!("--vad={}", spelled(&self.vad)).into(),
            format!("--definition={}", spelled(&self.definition)).into(),
            format!("--dead-air={}", self.dead_air).into(),
            format!("--seed={}", self.seed).into(),
        ];
        flags.extend(self.threshold.iter().map(|text| format!("--threshold={text}").into()));
        let Twilio { source, tag, manifest, since, until, .. } = &self.twilio;
        let Twilio { account_sid, auth_token_file, twilio_url, cache, wait, .. } = &self.twilio;
        let source = source.as_ref().map(|source| spelled(source).into());
        let text = |text: &Option<String>| text.as_ref().map(OsString::from);
        let path = |path: &Option<PathBuf>| path.as_ref().map(OsString::from);
        for (name, value) in [
            ("--out=", path(&self.out)),
            ("--source=", source),
            ("--tag=", text(tag)),
            ("--manifest=", path(manifest)),
            ("--since=", text(since)),
            ("--until=", text(until)),
            ("--account-sid=", text(account_sid)),
            ("--auth-token-file=", path(auth_token_file)),
            ("--twilio-url=", text(twilio_url)),
            ("--cache=", path(cache)),
            ("--wait=", wait.map(|wait| wait.to_string().into())),
        ] {
            if let Some(value) = value {
                let mut flag = OsString::from(name);
                flag.push(value);
                flags.push(flag);
            }
        }
        flags
    }

    fn plan(&self) -> String {
        let from = match self.definition {
            Definition::End => "the caller's end",
            Definition::Start => "the caller's start",
        };
        let what = match (&self.twilio.source, self.paths.len()) {
            (Some(_), _) => "recordings of a run".to_owned(),
            (None, 0) => "6 made-up calls of known truth".to_owned(),
            (None, n) => format!("{n} files and folders"),
        };
        format!("{what}; latency from {from} to the agent's start; gate {}", spelled(&self.vad))
    }
}

/// Runs it.
pub async fn run(args: &Args) -> u8 {
    let mut session = Session::begin(COMMAND, Some(args.seed), &args.output);
    let words: Vec<String> = std::env::args().skip(2).map(|word| quoted(&word)).collect();
    session.identity.again = format!("cargo xtask {COMMAND} {}", words.join(" "));
    let made = args.paths.is_empty() && args.twilio.source.is_none();
    let said = |made: bool, text: &str| if made { vec![text.to_owned()] } else { Vec::new() };
    session.bus.emit(Event::RunStarted {
        command: COMMAND.to_owned(),
        run_id: session.identity.run_id.clone(),
        seed: args.seed,
        real: said(!made, "the recordings"),
        simulated: said(made, "the calls"),
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
    command.args(["recordings-analyze", "--lifeline", "--run-dir"]).arg(run.dir().path());
    // Behind `--` nothing is taken for a flag.
    command.args(args.flags()).arg("--").args(&args.paths);
    tool::follow(&run, &mut command, &session.interrupt).await;
    let envelope = run.finish();
    session.exit(envelope)
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
