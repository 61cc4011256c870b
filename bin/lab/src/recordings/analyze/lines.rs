use std::fmt::Write as _;
use std::time::Duration;

use dialtone_harness::envelope::{Check, CheckStatus};
use dialtone_harness::failure::Failure;
use dialtone_recordings::truth::Score;
use dialtone_recordings::{Distribution, Summary, Warning};

use super::heard::Heard;

/// The line of a recording.
pub fn row(name: &str, heard: &Heard) -> Check {
    let summary = Summary::of(&[&heard.findings]);
    let mut detail = format!("{:>3} turns", summary.turns);
    if let Some(latency) = &summary.latency_ms {
        let _ = write!(
            detail,
            "  p50 {:>5.0}  p95 {:>5.0}  max {:>5.0} ms",
            latency.p50(),
            latency.p95(),
            latency.max
        );
    }
    for (count, what) in [
        (summary.barge_ins, "barge-in"),
        (summary.talkovers, "talk-over"),
        (summary.unanswered, "unanswered"),
    ] {
        if count > 0 {
            let _ = write!(detail, "  {count} {what}");
        }
    }
    Check::new(name, CheckStatus::Passed, heard.took, detail)
}

/// The line of a recording that is not in the result.
pub fn bad(name: &str, failure: &Failure) -> Check {
    let skipped = failure.exit == dialtone_contract::ExitCode::Skipped;
    let status = if skipped { CheckStatus::Skipped } else { CheckStatus::Failed };
    Check {
        code: Some(failure.code),
        hint: Some(failure.advice().to_owned()),
        ..Check::new(name, status, Duration::ZERO, failure.message.clone())
    }
}

/// What is odd about a recording, and what to do about it.
pub fn warnings(name: &str, heard: &Heard) -> Vec<String> {
    let side = heard.findings.caller.side.other().as_str();
    let told = |warning: &Warning| match warning {
        Warning::Swapped => {
            format!("channels look swapped: try --caller-channel {side}, or auto")
        }
        Warning::Undecided => {
            "its channels do not tell who is who: left was taken for the caller".to_owned()
        }
        Warning::Mono => "both channels carry the same".to_owned(),
        Warning::Silent { side } => format!("no speech on the {} channel", side.as_str()),
        Warning::Clipped { side, percent } => {
            format!("the {} channel is clipped, {percent:.1} % of it", side.as_str())
        }
        Warning::Echo { side, level_db, delay_ms } => format!(
            "the {} channel has the other one's echo, {level_db:.0} dB after {delay_ms:.0} ms: \
             it was left out",
            side.as_str()
        ),
        Warning::Truncated => "it ends before its header says; what is there was read".to_owned(),
        Warning::Damaged { pieces } => {
            format!("{pieces} damaged pieces of it count as silence")
        }
    };
    heard.findings.warnings.iter().map(|warning| format!("{name}: {}", told(warning))).collect()
}

/// What all recordings come to, in one screen.
pub fn total(summary: &Summary, score: &Option<Score>) -> String {
    let mut text = String::from("\n");
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:>16}  {value}");
    };
    line(
        "in all",
        format!(
            "{} recordings, {}, {} turns",
            summary.calls,
            length(summary.duration_s),
            summary.turns
        ),
    );
    line("response", quantiles(&summary.latency_ms, "answers"));
    if summary.greeting_ms.is_some() {
        line("greeting", median(&summary.greeting_ms, "after the start of the recording"));
    }
    if summary.talkovers > 0 {
        let early = median(&summary.talkover_ms, "before the caller's end");
        line("talk-over", format!("{} answers, {early}", summary.talkovers));
    }
    if summary.barge_ins > 0 {
        let yields = median(&summary.yield_ms, "until the agent is silent");
        line(
            "barge-ins",
            format!("{}, of which {} yielded to, {yields}", summary.barge_ins, summary.yielded),
        );
    }
    line("unanswered", format!("{} turns", summary.unanswered));
    if summary.dead_air > 0 {
        let (count, seconds) = (summary.dead_air, summary.dead_air_s);
        line("dead air", format!("{count} times, {seconds:.1} s"));
    }
    line(
        "talk",
        format!(
            "caller {:.0} %, agent {:.0} %, nobody {:.0} %; both at once {:.1} s; {} backchannels",
            summary.caller_share * 100.0,
            summary.agent_share * 100.0,
            summary.silent_share * 100.0,
            summary.talk_over_s,
            summary.backchannels
        ),
    );
    if let (Some(snr), Some(confidence)) = (summary.snr_db, summary.confidence) {
        line("clearness", format!("{snr:.0} dB above the noise, confidence {confidence:.2}"));
    }
    if let Some(score) = score {
        line("against truth", truth(score));
    }
    text
}

fn quantiles(values: &Option<Distribution>, what: &str) -> String {
    let Some(values) = values else { return format!("no {what}") };
    let mut text = format!("{} {what}:", values.n);
    for quantile in &values.quantiles {
        let _ = write!(text, " p{:.0} {:.0}", quantile.share * 100.0, quantile.value);
        if let Some((low, high)) = quantile.interval {
            let _ = write!(text, " ({low:.0}-{high:.0})");
        }
    }
    text + " ms"
}

fn median(values: &Option<Distribution>, what: &str) -> String {
    values.as_ref().map_or("-".to_owned(), |values| {
        format!("p50 {:.0} ms, p95 {:.0} ms {what}", values.p50(), values.p95())
    })
}

/// How far the figures are from what is true.
fn truth(score: &Score) -> String {
    let figure = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
    format!(
        "bias {} ms, mean error {} ms, 95 % within {} ms; {} % missed, {} % false",
        figure(score.bias_ms()),
        figure(score.mae_ms()),
        figure(score.p95_error_ms()),
        figure(score.missed_percent()),
        figure(score.false_percent()),
    )
}

fn length(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}
