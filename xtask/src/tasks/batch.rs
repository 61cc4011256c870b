//! `batch:test`.

use std::time::Duration;

use clap::ValueEnum;
use dialtone_clock::TimeScale;
use dialtone_contract::wire::{OutcomeMode, SpanS};
use dialtone_contract::{CancelMode, ErrorCode, TestMix, limits};
use dialtone_harness::drill::{Cancel, Kill, Moment, Victim};
use dialtone_harness::failure::Failure;
use dialtone_harness::flow::batch::{self, Opening, Options};
use dialtone_harness::flow::{Limits, LiveKit};
use dialtone_harness::mix::{self, Asked, Share};

use crate::cli::Common;
use crate::session::Session;
use crate::tasks::livekit;

/// From this factor on a run is expected to be short.
const FAST: u32 = 10;
/// How long a run at scaled time may take unless told otherwise.
const DEADLINE: Duration = Duration::from_secs(600);
/// What an entry may add to that: a guard for each of its attempts if nobody answers, shared with
/// the others in flight, on a machine that is busy otherwise.
const ENTRY: Duration = Duration::from_millis(20);
/// What a wave may add to that: several calls after each other, in simulated time.
const WAVE: Duration = Duration::from_secs(300);

/// Flags of `batch:test`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Batch")]
pub struct Args {
    /// Calls in all. Without any count below: 24 completed, 100 failed, 15 stuck, 10 dropped of
    /// 149, scaled to the total.
    #[arg(
        long,
        default_value_t = u64::from(mix::TOTAL_DEFAULT),
        allow_negative_numbers = true,
        value_parser = total,
    )]
    total: u64,
    /// Calls that fail. With any count given, those not given are 0.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    fail_count: Option<u64>,
    /// Calls whose agent joins, waits and leaves without ringing.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    stuck_count: Option<u64>,
    /// Calls whose agent joins and leaves at once.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    dropped_count: Option<u64>,
    /// Of all calls, as many as this for every scripted fault: late, duplicate and lost callback,
    /// crash in call, never accepts, rings for ever.
    #[arg(long, value_name = "PERCENT", default_value_t, allow_negative_numbers = true, value_parser = share)]
    faults: Share,
    /// Whether the counts are kept exactly, or every attempt draws with them as weights.
    #[arg(long, value_enum, default_value_t)]
    outcomes: Outcomes,
    /// Simulated seconds per second, 1 to 240; max = 240. With --livekit-url: 1 unless given.
    #[arg(
        long,
        value_name = "max|N",
        allow_negative_numbers = true,
        value_parser = time_scale,
    )]
    time_scale: Option<TimeScale>,
    /// Simulated seconds that calls last which complete or fail, 0 to 840 (those that fail 45 at
    /// most). Unless given: 2-20 and 1-5.
    #[arg(long, value_name = "N|FROM-TO", allow_negative_numbers = true, value_parser = talk)]
    talk: Option<SpanS>,
    /// Calls in flight at once.
    #[arg(
        long,
        value_name = "N",
        default_value_t = limits::MAX_CONCURRENT_DEFAULT,
        allow_negative_numbers = true,
        value_parser = max_concurrent,
    )]
    max_concurrent: u32,
    /// A LiveKit that is there already, ws:// or http://, instead of a simulated one
    /// [env: LIVEKIT_URL].
    #[arg(long, value_name = "URL")]
    livekit_url: Option<String>,
    /// SIGKILL of a service when so many entries have ended, or so long after the trigger in
    /// simulated time; it comes back on its port, and the batch must end all the same. WHO is
    /// server, worker or livekit; may be given several times.
    #[arg(long, value_name = "WHO@40%|WHO@90s", value_parser = kill)]
    kill: Vec<Kill>,
    /// Cancel the batch when so many entries have ended, or so long after the trigger in
    /// simulated time.
    #[arg(long, value_name = "40%|90s", value_parser = moment)]
    cancel_at: Option<Moment>,
    /// What the cancel does to calls under way: hang them up, or let those go on that have
    /// reached their callee.
    #[arg(long, value_name = "MODE", value_enum, default_value_t, requires = "cancel_at")]
    cancel_mode: Mode,
    /// Calls in waves of 15, each of which ends before the next one begins.
    #[arg(long)]
    waves: bool,
    #[command(flatten)]
    common: Common,
}

/// Whether the counts are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Outcomes {
    /// Exactly.
    #[default]
    Exact,
    /// As weights.
    Weighted,
}

/// What a cancel does to calls under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Hangs them up.
    #[default]
    Hangup,
    /// Lets calls go on that have reached their callee.
    Drain,
}

impl From<Mode> for CancelMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Hangup => Self::Hangup,
            Mode::Drain => Self::Drain,
        }
    }
}

impl From<Outcomes> for OutcomeMode {
    fn from(outcomes: Outcomes) -> Self {
        match outcomes {
            Outcomes::Exact => Self::Exact,
            Outcomes::Weighted => Self::Weighted,
        }
    }
}

/// A whole number in a range; clap names the flag, this the range.
fn whole(text: &str, least: u32, most: u32) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("expected a whole number from {least} to {most}"))
}

fn total(text: &str) -> Result<u64, String> {
    whole(text, 1, limits::ENTRIES_MAX).map(u64::from)
}

fn count(text: &str) -> Result<u64, String> {
    whole(text, 0, limits::ENTRIES_MAX).map(u64::from)
}

fn share(text: &str) -> Result<Share, String> {
    Share::parse(text).ok_or_else(|| "expected a percentage from 0% to 100%, such as 1%".to_owned())
}

fn talk(text: &str) -> Result<SpanS, String> {
    let most = limits::TEST_TALK_MAX.as_secs_f64();
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let span = from.parse().ok().zip(to.parse().ok()).map(|(min_s, max_s)| SpanS { min_s, max_s });
    let span = span.filter(|span| 0.0 <= span.min_s && span.min_s <= span.max_s);
    let span = span.filter(|span| span.max_s <= most);
    span.ok_or_else(|| format!("expected seconds from 0 to {most}, such as 30 or 10-60"))
}

fn max_concurrent(text: &str) -> Result<u32, String> {
    whole(text, 1, limits::MAX_CONCURRENT_MAX)
}

fn time_scale(text: &str) -> Result<TimeScale, String> {
    if text == "max" {
        return Ok(TimeScale::MAX);
    }
    let factor = text.parse().ok().and_then(TimeScale::new);
    factor.ok_or_else(|| "expected `max` or a whole number from 1 to 240".to_owned())
}

fn moment(text: &str) -> Result<Moment, String> {
    text.parse()
}

fn kill(text: &str) -> Result<Kill, String> {
    text.parse()
}

/// What the flags add up to.
struct Wanted {
    mix: TestMix,
    livekit: LiveKit,
    scale: TimeScale,
}

impl Args {
    fn wanted(&self) -> Result<Wanted, Failure> {
        let asked = Asked {
            total: self.total,
            fail: self.fail_count,
            stuck: self.stuck_count,
            dropped: self.dropped_count,
            faults: self.faults,
        };
        if self.outcomes == Outcomes::Weighted && !self.faults.is_none() {
            let text = "--faults needs the outcomes to be exact";
            return Err(Failure::new(ErrorCode::Usage, text).hint(
                "leave out --outcomes weighted: there every attempt draws its outcome anew",
            ));
        }
        let mix = asked.mix().map_err(|text| Failure::new(ErrorCode::Usage, text))?;
        let livekit = livekit::choose(self.livekit_url.as_deref(), self.common.yes_remote)?;
        let theirs = matches!(livekit, LiveKit::External { .. });
        if theirs && self.kill.iter().any(|kill| kill.victim == Victim::LivekitDev) {
            let text = "--kill livekit needs the simulated LiveKit; drop --livekit-url";
            return Err(Failure::new(ErrorCode::Usage, text));
        }
        let scale = match (&livekit, self.time_scale) {
            (LiveKit::Simulated, asked) => asked.unwrap_or(TimeScale::MAX),
            (LiveKit::External { .. }, None) => TimeScale::REAL,
            (LiveKit::External { url, .. }, Some(scale)) => {
                if scale != TimeScale::REAL && !livekit::is_loopback(url) {
                    let text = format!("--time-scale must be 1 with the LiveKit at {url}");
                    return Err(Failure::new(ErrorCode::Usage, text)
                        .hint("time is scaled only for a LiveKit on this machine"));
                }
                scale
            }
        };
        Ok(Wanted { mix, livekit, scale })
    }

    fn cancel(&self) -> Option<Cancel> {
        self.cancel_at.map(|at| Cancel { at, mode: self.cancel_mode.into() })
    }

    /// How long the run may take unless told otherwise. Large batches take longer, and waves
    /// wait for the slowest call of each.
    fn deadline(&self, scale: TimeScale) -> Option<Duration> {
        let entries = u32::try_from(self.total).unwrap_or(u32::MAX);
        if scale.factor() < FAST {
            return None;
        }
        let work = if self.waves {
            let waves = entries.div_ceil(batch::WAVE_SIZE) * (limits::MAX_RETRIES_DEFAULT + 1);
            scale.guard(WAVE) * waves
        } else {
            let usual = limits::MAX_CONCURRENT_DEFAULT;
            ENTRY * entries * usual / self.max_concurrent.min(usual)
        };
        Some(DEADLINE + work)
    }

    /// The command that does the same again.
    fn again(&self, wanted: &Wanted, seed: u64) -> String {
        let Wanted { mix, scale, livekit } = wanted;
        let mut text = format!("cargo xtask batch:test --total {}", self.total);
        if self.fail_count.or(self.stuck_count).or(self.dropped_count).is_some() {
            text += &format!(
                " --fail-count {} --stuck-count {} --dropped-count {}",
                mix.weights.failed, mix.weights.stuck, mix.weights.dropped
            );
        }
        if !self.faults.is_none() {
            text += &format!(" --faults {}", self.faults);
        }
        if self.outcomes == Outcomes::Weighted {
            text += " --outcomes weighted";
        }
        let usual = match livekit {
            LiveKit::Simulated => TimeScale::MAX,
            LiveKit::External { url, .. } => {
                text += &format!(" --livekit-url {url}");
                TimeScale::REAL
            }
        };
        if *scale != usual {
            text += &format!(" --time-scale {}", scale.factor());
        }
        if let Some(SpanS { min_s, max_s }) = self.talk {
            text += &format!(" --talk {min_s}");
            if max_s > min_s {
                text += &format!("-{max_s}");
            }
        }
        if self.max_concurrent != limits::MAX_CONCURRENT_DEFAULT {
            text += &format!(" --max-concurrent {}", self.max_concurrent);
        }
        for kill in &self.kill {
            text += &format!(" --kill {kill}");
        }
        if let Some(Cancel { at, mode }) = self.cancel() {
            text += &format!(" --cancel-at {at}");
            if mode != CancelMode::Hangup {
                text += &format!(" --cancel-mode {mode}");
            }
        }
        if self.waves {
            text += " --waves";
        }
        text + &format!(" --seed {seed}")
    }
}

/// Runs it.
pub async fn run(args: &Args) -> u8 {
    let common = &args.common;
    let mut session = Session::begin(batch::COMMAND, common.seed, &common.output);
    let wanted = match args.wanted() {
        Ok(wanted) => wanted,
        Err(failure) => return session.refuse(&failure),
    };
    session.identity.again = args.again(&wanted, session.identity.seed);
    let opening = Opening {
        livekit: wanted.livekit.clone(),
        scale: wanted.scale,
        mode: args.outcomes.into(),
        max_concurrent: args.max_concurrent,
    };
    session.bus.emit(batch::opening(&session.identity, wanted.mix, &opening));
    let checks = batch::checks(wanted.mix, &args.kill, args.cancel());
    let (binaries, run) = match session.get_ready(common, checks).await {
        Ok(ready) => ready,
        Err(code) => return code,
    };
    let deadline = args.deadline(wanted.scale);
    let options = Options {
        mix: wanted.mix,
        mode: args.outcomes.into(),
        scale: wanted.scale,
        talk: args.talk,
        max_concurrent: args.max_concurrent,
        livekit: wanted.livekit,
        kills: args.kill.clone(),
        cancel: args.cancel(),
        waves: args.waves,
        ready_within: common.timeout,
        binaries,
    };
    let limits =
        Limits { interrupt: session.interrupt.clone(), deadline: common.deadline.or(deadline) };
    let envelope = batch::run(run, &options, limits).await;
    session.exit(envelope)
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
        let words = std::iter::once("batch:test").chain(line.split_whitespace());
        <Line as clap::Parser>::try_parse_from(words).expect("a command line").args
    }

    #[test]
    fn what_is_told_to_do_the_same_again_does_the_same() {
        for line in [
            "--total 149 --seed 7",
            "--total 20 --fail-count 5 --stuck-count 2 --dropped-count 0 --seed 7",
            "--total 20 --outcomes weighted --time-scale 10 --max-concurrent 5 --seed 7",
            "--total 1000 --faults 0.5% --talk 10-60 --seed 7",
            "--total 20 --fail-count 5 --stuck-count 2 --dropped-count 0 --faults 1% --seed 7",
            "--total 149 --livekit-url ws://127.0.0.1:7880 --seed 7",
            "--total 149 --livekit-url ws://127.0.0.1:7880 --time-scale 240 --seed 7",
            "--total 149 --kill test-worker@40% --kill dialtone@90s --seed 7",
            "--total 149 --cancel-at 40% --seed 7",
            "--total 149 --talk 1.5 --kill dialtone@40% --cancel-at 90s --cancel-mode drain --waves --seed 7",
        ] {
            let args = read(line);
            let wanted = args.wanted().expect("possible");
            assert_eq!(args.again(&wanted, 7), format!("cargo xtask batch:test {line}"));
        }
    }

    #[test]
    fn time_is_scaled_only_for_a_livekit_on_this_machine() {
        let scale = |line: &str| read(line).wanted().map(|w| w.scale).map_err(|f| f.exit.code());
        assert_eq!(scale("--livekit-url ws://127.0.0.1:7880"), Ok(TimeScale::REAL));
        assert_eq!(scale("--livekit-url ws://localhost --time-scale max"), Ok(TimeScale::MAX));
        assert_eq!(scale("--livekit-url ws://10.0.0.1:7880 --yes-remote --time-scale 2"), Err(5));
    }

    #[test]
    fn only_a_livekit_of_the_run_can_be_killed() {
        let with = |kill: &str| {
            let line = format!("--livekit-url ws://127.0.0.1:7880 --kill {kill}");
            read(&line).wanted().map(|_| ()).map_err(|failure| failure.exit.code())
        };
        assert_eq!((with("server@40%"), with("livekit@40%")), (Ok(()), Err(2)));
    }

    #[test]
    fn a_large_batch_and_waves_may_take_longer() {
        let deadline = |line: &str| {
            let args = read(line);
            args.deadline(args.wanted().expect("possible").scale).map(|span| span.as_secs())
        };
        assert_eq!(deadline(""), Some(602));
        assert_eq!(deadline("--total 10000"), Some(800));
        assert_eq!(deadline("--total 10000 --max-concurrent 10"), Some(1_600));
        assert_eq!(deadline("--waves"), Some(645));
        assert_eq!(deadline("--waves --total 1000000"), Some(600 + 300_001));
        assert_eq!(deadline("--time-scale 9"), None);
    }

    #[test]
    fn a_time_scale_is_max_or_a_factor() {
        assert_eq!(time_scale("max"), Ok(TimeScale::MAX));
        assert_eq!(time_scale("1"), Ok(TimeScale::REAL));
        for bad in ["0", "241", "fast", "1.5", ""] {
            assert!(time_scale(bad).is_err(), "{bad} was read");
        }
    }
}
