//! One event, one line; a failure, one block.

use std::fmt::Write;

use super::{Stream, Style, Tone, Verbosity};
use crate::envelope::{Check, CheckStatus};
use crate::event::{Event, Progress};
use crate::span;

/// Columns of the subject, so that times stand under each other.
const SUBJECT: usize = 15;

/// The line or block for an event, and where it goes. Empty where there is nothing to say.
pub(super) fn of(
    style: Style,
    verbosity: Verbosity,
    at_ms: f64,
    event: &Event,
) -> (Stream, String) {
    let text = match event {
        Event::Failure { .. } => return (Stream::Talk, failure(style, event)),
        Event::Warning { text } => status(style, Tone::Warn, "warning", text),
        Event::Interrupting { signal } => {
            let text = format!("{signal}: stopping, writing a partial result; again to kill");
            status(style, Tone::Warn, "Stopping", &text)
        }
        _ if verbosity == Verbosity::Quiet => String::new(),
        Event::Check(check) => return (Stream::Out, self::check(style, check)),
        Event::Text { text } => return (Stream::Out, text.clone()),
        Event::RunStarted { .. } => opening(style, event),
        Event::BuildStarted { what } => status(style, Tone::Good, "Building", what),
        Event::BuildFinished { what, duration_ms } => {
            timed(style, Tone::Good, "Built", what, *duration_ms, "")
        }
        Event::ServiceStarted { name, pid, url, duration_ms } => {
            let detail = format!("{url}  pid {pid}");
            timed(style, Tone::Good, "Started", name, *duration_ms, &detail)
        }
        Event::ServiceReady { name, duration_ms } => {
            timed(style, Tone::Good, "Ready", name, *duration_ms, "")
        }
        Event::ServiceExited { name, pid, exit } => {
            timed(style, Tone::Bad, "Exited", name, at_ms, &format!("pid {pid}, {exit}"))
        }
        Event::ServiceKilled { name, pid } => {
            timed(style, Tone::Warn, "Killed", name, at_ms, &format!("pid {pid}, on purpose"))
        }
        Event::CaseStarted { name } => status(style, Tone::Bold, "Case", name),
        Event::Beat { .. } if verbosity == Verbosity::Verbose => beat(style, at_ms, event),
        Event::Note { text } => status(style, Tone::Bold, "Note", text),
        Event::Stopped { processes, duration_ms } => {
            let what = plural(*processes, "process", "processes");
            timed(style, Tone::Good, "Stopped", &what, *duration_ms, "")
        }
        // What the lines after the ruler tell.
        Event::Progress(_)
        | Event::Beat { .. }
        | Event::Table { .. }
        | Event::Invariants { .. }
        | Event::RunFinished { .. } => String::new(),
    };
    (Stream::Talk, text)
}

/// The first lines: what is real, what is simulated, and what will be done.
fn opening(style: Style, event: &Event) -> String {
    let Event::RunStarted { command, run_id, seed, real, simulated, plan } = event else {
        return String::new();
    };
    let said = |word, what: &[String]| {
        let nothing = what.is_empty();
        if nothing { String::new() } else { format!("{word}: {}; ", what.join(", ")) }
    };
    let (real, simulated) = (said("real", real), said("simulated", simulated));
    let text = format!("{real}{simulated}seed {seed}, run {run_id}");
    format!(
        "{}{}",
        status(style, Tone::Bold, command, &text),
        status(style, Tone::Bold, "Plan", plan)
    )
}

fn check(style: Style, check: &Check) -> String {
    let (word, tone) = match check.status {
        CheckStatus::Passed => ("PASS", Tone::Good),
        CheckStatus::Failed => ("FAIL", Tone::Bad),
        CheckStatus::Skipped => ("SKIP", Tone::Warn),
        CheckStatus::NotRun => ("-", Tone::Plain),
    };
    timed(style, tone, word, &check.name, check.duration_ms, &check.detail)
}

/// One heartbeat that a hive got.
fn beat(style: Style, at_ms: f64, event: &Event) -> String {
    let Event::Beat { seq, status, gap_ms, slots_busy, slots_total } = event else {
        return String::new();
    };
    let gap = gap_ms.map_or_else(String::new, |ms| format!(", {ms:.0} ms after the last"));
    let detail = format!("{}, {slots_busy}/{slots_total} slots busy{gap}", status.as_str());
    timed(style, Tone::Plain, "Beat", &format!("seq {seq}"), at_ms, &detail)
}

/// How far a batch is, where nobody looks at a terminal.
pub(super) fn progress(style: Style, at_ms: f64, progress: &Progress) -> String {
    let Progress { total, ended, .. } = progress;
    timed(style, Tone::Bold, "Running", &format!("{ended}/{total}"), at_ms, &standing(progress))
}

/// How far a batch is, beside the count.
pub(super) fn standing(progress: &Progress) -> String {
    let simulated = std::time::Duration::from_secs_f64(progress.simulated_s.max(0.0));
    format!(
        "in flight {}, retrying {}, attempts {}, dials {}, {} simulated",
        progress.in_flight,
        progress.retrying,
        progress.attempts,
        progress.dials,
        span::human(simulated)
    )
}

/// `error[code]`, the evidence, and what to do.
fn failure(style: Style, event: &Event) -> String {
    let Event::Failure { code, message, evidence, why, hint, again } = event else {
        return String::new();
    };
    let bar = if style.unicode { "\u{2502}" } else { "|" };
    let mut text = String::new();
    let head = style.paint(Tone::Bad, &format!("error[{}]", code.as_str()));
    let _ = writeln!(text, "{head}: {message}");
    for line in evidence {
        let _ = writeln!(text, "  {bar} {line}");
    }
    let _ = writeln!(text, "  = why: {why}");
    let _ = writeln!(text, "  = try: {hint}");
    if let Some(again) = again {
        let _ = writeln!(text, "  = again: {again}");
    }
    text
}

/// A line without a time.
pub(super) fn status(style: Style, tone: Tone, word: &str, text: &str) -> String {
    // Padding is counted before painting: escapes have no width.
    let word = style.paint(tone, &format!("{word:>12}"));
    format!("{word} {text}\n")
}

fn timed(style: Style, tone: Tone, word: &str, subject: &str, ms: f64, detail: &str) -> String {
    let word = style.paint(tone, &format!("{word:>12}"));
    let line = format!("{word} {subject:<SUBJECT$} [{:>8.3}s] {}", ms / 1e3, detail);
    format!("{}\n", line.trim_end())
}

/// `1 process`, `2 processes`.
pub(super) fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
