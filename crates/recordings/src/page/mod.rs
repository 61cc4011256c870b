//! The page of a run: one HTML file that needs nothing else, with every call's two channels and
//! the turns drawn on them.

mod calls;
mod distribution;
mod overview;
mod svg;
mod text;
mod waveform;

use std::fmt::Write as _;

use self::text::escaped;
use crate::Findings;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What a page is made of.
#[derive(Clone, Debug, Default)]
pub struct Report<'a> {
    /// The command that was run.
    pub title: String,
    /// What came of it, in one word.
    pub verdict: String,
    /// Whether that is good.
    pub passed: bool,
    /// What the reader has to know: gate, definition, source.
    pub facts: Vec<(String, String)>,
    /// The figures that matter most.
    pub tiles: Vec<Tile>,
    /// Quantiles that are drawn into the distribution.
    pub marks: Vec<Mark>,
    /// What had to hold.
    pub thresholds: Vec<Line>,
    /// Recordings, in the order in which they are shown.
    pub calls: Vec<Recording<'a>>,
    /// Files that were left out, with the reason.
    pub left_out: Vec<(String, String)>,
}

/// A figure.
#[derive(Clone, Debug, Default)]
pub struct Tile {
    /// Its name.
    pub name: String,
    /// Its value, with its unit.
    pub value: String,
    /// How sure it is, or what it is of.
    pub detail: String,
}

/// A quantile of the response latency and the interval that it is in.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    /// Its name.
    pub name: String,
    /// Where it is, in milliseconds.
    pub ms: f64,
    /// From where to where it may be, in milliseconds.
    pub interval_ms: Option<(f64, f64)>,
}

/// Something that held or did not.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// What it is.
    pub text: String,
    /// What was seen.
    pub observed: String,
    /// Whether it held.
    pub passed: bool,
}

/// One recording.
#[derive(Clone, Copy, Debug)]
pub struct Recording<'a> {
    /// Its name.
    pub name: &'a str,
    /// What was found in it.
    pub findings: &'a Findings,
}

/// The page.
pub fn html(report: &Report<'_>) -> String {
    let mut page = String::with_capacity(64 * 1024 * (report.calls.len() + 1));
    let title = escaped(&report.title);
    let (word, class) = (escaped(&report.verdict), if report.passed { "good" } else { "bad" });
    // Nothing is loaded from anywhere, whatever a file is called.
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\
         <header><h1>{title} <span class=\"chip {class}\">{word}</span></h1><dl class=\"facts\">"
    );
    for (name, value) in &report.facts {
        let _ = write!(page, "<div><dt>{}</dt><dd>{}</dd></div>", escaped(name), escaped(value));
    }
    page.push_str("</dl></header><main>");
    overview::write(&mut page, report);
    distribution::write(&mut page, report);
    overview::write_warnings(&mut page, report);
    calls::write(&mut page, report);
    let _ = write!(page, "</main><script>{SCRIPT}</script></body></html>");
    page
}

#[cfg(test)]
mod tests;
