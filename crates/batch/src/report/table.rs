//! The table of a report: one row for each attempt, and one for each entry without any.

use std::fmt::Write as _;

use dialtone_clock::Timestamp;
use dialtone_contract::{Outcome, PlannedOutcome};
use dialtone_store::{CallRow, EntryRow};

/// The table's first line.
pub const CSV_HEADER: &str = "entry_id,seq,to,state,outcome,planned_outcome,attempts,attempt,\
                              call_id,call_state,call_outcome,reason,due_at,leased_at,\
                              dispatched_at,claimed_at,ended_at,duration_ms\r\n";

/// Columns of an attempt, which stay empty for an entry without any.
const OF_ATTEMPT: usize = 11;

/// Adds an entry's lines to `csv`; the number only if `reveal`.
pub fn csv_rows(csv: &mut String, entry: &EntryRow, calls: &[CallRow], reveal: bool) {
    let to = if reveal { entry.to.expose().to_owned() } else { entry.to.to_string() };
    let mut head = Line::default();
    head.cell(entry.key.entry_id().as_str());
    head.number(Some(entry.key.seq));
    head.cell(&to);
    head.cell(entry.state.as_str());
    head.cell(entry.outcome.map_or("", Outcome::as_str));
    head.cell(entry.planned.map_or("", PlannedOutcome::as_str));
    head.number(Some(entry.attempt));
    if calls.is_empty() {
        csv.push_str(&head.0);
        csv.push_str(&",".repeat(OF_ATTEMPT));
        csv.push_str("\r\n");
    }
    for call in calls {
        let mut line = Line(head.0.clone());
        line.number(Some(call.attempt));
        line.cell(entry.key.call_id(call.attempt).as_str());
        line.cell(call.state.as_str());
        line.cell(call.outcome.map_or("", Outcome::as_str));
        line.cell(call.reason.as_deref().unwrap_or_default());
        for at in [call.due_at, Some(call.leased_at), call.dispatched_at, call.claimed_at] {
            line.time(at);
        }
        line.time(call.ended_at);
        line.number(call.duration_ms);
        csv.push_str(&line.0);
        csv.push_str("\r\n");
    }
}

/// One line, without its end.
#[derive(Default)]
struct Line(String);

impl Line {
    fn comma(&mut self) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
    }

    fn number(&mut self, value: Option<impl std::fmt::Display>) {
        self.comma();
        if let Some(value) = value {
            let _ = write!(self.0, "{value}");
        }
    }

    fn time(&mut self, at: Option<Timestamp>) {
        self.number(at);
    }

    /// A text. One that a spreadsheet would take for a formula begins with an apostrophe.
    fn cell(&mut self, text: &str) {
        self.comma();
        let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
        let mark = if formula { "'" } else { "" };
        if text.contains(['"', ',', '\r', '\n']) {
            let _ = write!(self.0, "\"{mark}{}\"", text.replace('"', "\"\""));
        } else {
            let _ = write!(self.0, "{mark}{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_or_breaks_its_line() {
        let cases = [
            ("plain", "plain"),
            ("", ""),
            ("=1+1", "'=1+1"),
            ("+15550000001", "'+15550000001"),
            ("-2", "'-2"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=cmd|'/c calc'!A1,\"x\"", "\"'=cmd|'/c calc'!A1,\"\"x\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
        ];
        for (text, expected) in cases {
            let mut line = Line("x".to_owned());
            line.cell(text);
            assert_eq!(line.0, format!("x,{expected}"));
        }
    }

    #[test]
    fn the_header_names_every_column() {
        assert_eq!(CSV_HEADER.trim_end().split(',').count(), 7 + OF_ATTEMPT);
    }
}
