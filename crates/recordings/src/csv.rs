//! The turns of recordings as CSV.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::{Findings, Turn};

/// The columns, in their order.
pub const COLUMNS: &str = "recording_sid,call_sid,rtt_ms,file,turn,kind,caller_start_s,\
                           caller_end_s,agent_start_s,agent_end_s,confidence,snr_db";

/// Whose turns they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// `RE..`; empty where it is not known.
    pub recording_sid: &'a str,
    /// `CA..`; empty where it is not known.
    pub call_sid: &'a str,
    /// The base name of the file.
    pub file: &'a str,
}

/// The turns of a recording, a line each. What a turn does not have is empty.
pub fn rows(origin: Origin<'_>, findings: &Findings) -> String {
    let mut rows = String::new();
    for (n, turn) in findings.turns.iter().enumerate() {
        row(&mut rows, origin, n + 1, turn);
    }
    rows
}

fn row(rows: &mut String, origin: Origin<'_>, number: usize, turn: &Turn) {
    let optional = |value: Option<f64>, digits: usize| {
        value.map_or(String::new(), |value| format!("{:.digits$}", value + 0.0))
    };
    let (caller, agent) = (turn.caller, turn.agent);
    let _ = writeln!(
        rows,
        "{},{},{},{},{number},{},{},{},{},{},{:.3},{:.1}",
        quoted(origin.recording_sid),
        quoted(origin.call_sid),
        optional(turn.rtt_ms, 1),
        quoted(origin.file),
        turn.kind.as_str(),
        optional(caller.map(|said| said.start_s), 3),
        optional(caller.map(|said| said.end_s), 3),
        optional(agent.map(|said| said.start_s), 3),
        optional(agent.map(|said| said.end_s), 3),
        turn.confidence,
        turn.snr_db,
    );
}

/// A field as RFC 4180 has it.
fn quoted(field: &str) -> Cow<'_, str> {
    if field.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", field.replace('"', "\"\"")).into();
    }
    field.into()
}
