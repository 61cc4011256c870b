//! What came of the run: the ruler, one Summary line, the table, where to look.

use std::fmt::Write;

use dialtone_contract::Verdict;

use super::line::{plural, status};
use super::{Style, Tone, Verbosity};
use crate::envelope::{Case, CheckStatus, Envelope};
use crate::event::TableRow;
use crate::span;

/// Everything after the last check.
pub(super) fn summary(
    style: Style,
    verbosity: Verbosity,
    envelope: &Envelope,
    table: &str,
    folder: Option<&str>,
) -> String {
    let mut text = String::new();
    if verbosity > Verbosity::Quiet {
        let _ = writeln!(text, "{}", style.ruler());
    }
    text.push_str(&verdict(style, envelope));
    if verbosity == Verbosity::Quiet {
        return text;
    }
    text.push_str(table);
    envelope.cases.iter().for_each(|case| text.push_str(&self::case(style, case)));
    if !envelope.invariants.is_empty() {
        text.push_str(&invariants(style, envelope));
    }
    if verbosity == Verbosity::Verbose {
        for (name, value) in envelope.metrics.iter() {
            text.push_str(&status(style, Tone::Plain, "metric", &format!("{name:<18} {value}")));
        }
    }
    if let Some(folder) = folder {
        text.push_str(&status(style, Tone::Bold, "Run folder", folder));
    }
    text
}

fn verdict(style: Style, envelope: &Envelope) -> String {
    let (word, tone) = match envelope.verdict {
        Verdict::Passed => ("passed", Tone::Good),
        Verdict::Failed => ("failed", Tone::Bad),
        Verdict::Skipped => ("skipped", Tone::Warn),
        Verdict::Error => ("error", Tone::Bad),
        Verdict::Interrupted => ("interrupted", Tone::Warn),
    };
    let counts: Vec<String> = [
        (CheckStatus::Passed, "passed"),
        (CheckStatus::Failed, "failed"),
        (CheckStatus::Skipped, "skipped"),
        (CheckStatus::NotRun, "not run"),
    ]
    .into_iter()
    .map(|(status, word)| (envelope.count(status), word))
    .filter(|(n, word)| *n > 0 || *word == "passed")
    .map(|(n, word)| format!("{n} {word}"))
    .collect();
    let word = style.paint(tone, word);
    let mut text = format!("[{:>8.3}s] {} {word}", envelope.wall_s, envelope.command);
    if !envelope.checks.is_empty() {
        let checks = plural(envelope.checks.len(), "check", "checks");
        let _ = write!(text, ": {checks}: {}", counts.join(", "));
    }
    if envelope.simulated_s > 0.0 {
        let simulated = std::time::Duration::from_secs_f64(envelope.simulated_s);
        let _ = write!(text, "; {} simulated", span::human(simulated));
    }
    if envelope.exit_code != 0 {
        let _ = write!(text, "; exit code {}", envelope.exit_code);
    }
    status(style, tone, "Summary", &text)
}

/// The row of a case: its verdict, and why where it is not the good one.
fn case(style: Style, case: &Case) -> String {
    let (word, tone) = match case.verdict {
        Verdict::Passed => ("PASSED", Tone::Good),
        Verdict::Skipped => ("SKIPPED", Tone::Warn),
        Verdict::Interrupted => ("INTERRUPTED", Tone::Warn),
        Verdict::Failed | Verdict::Error => ("FAILED", Tone::Bad),
    };
    let told = |status| case.checks.iter().find(|check| check.status == status);
    let why = match (told(CheckStatus::Failed), case.verdict) {
        (Some(check), _) => format!(" ({}: {})", check.name, check.detail),
        (None, Verdict::Passed) => String::new(),
        (None, _) => told(CheckStatus::Skipped)
            .map_or_else(String::new, |check| format!(" ({})", check.detail)),
    };
    format!("{:>12} {}{why}\n", case.name, style.paint(tone, word))
}

fn invariants(style: Style, envelope: &Envelope) -> String {
    let names = |holds| {
        let some = envelope.invariants.iter().filter(move |i| i.holds == holds);
        some.map(|i| i.name.as_str()).collect::<Vec<_>>()
    };
    let (hold, broken) = (names(true), names(false));
    let total = envelope.invariants.len();
    let (tone, text) = if broken.is_empty() {
        (Tone::Good, format!("{total}/{total} hold"))
    } else {
        (Tone::Bad, format!("{}/{total} hold; broken: {}", hold.len(), broken.join(", ")))
    };
    status(style, tone, "Invariants", &text)
}

/// Planned against final, and the figures under it.
pub(super) fn table(style: Style, rows: &[TableRow], figures: &str) -> String {
    let wide = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(12);
    let mut text = format!("{:>wide$} {:>11} {:>8} {:>9}\n", "", "planned", "final", "attempts");
    for row in rows {
        let attempts = row.attempts.map_or_else(String::new, |n| n.to_string());
        let (tone, mark) = match (row.good, style.unicode) {
            (true, true) => (Tone::Good, "\u{2713}"),
            (true, false) => (Tone::Good, "ok"),
            (false, true) => (Tone::Bad, "\u{2717}"),
            (false, false) => (Tone::Bad, "BAD"),
        };
        let line = format!(
            "{:>wide$} {:>11} {:>8} {attempts:>9}  {}  {}",
            row.name,
            row.planned,
            row.ended,
            style.paint(tone, mark),
            row.ended_as
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if !figures.is_empty() {
        text.push_str(&status(style, Tone::Bold, "Figures", figures));
    }
    text
}
