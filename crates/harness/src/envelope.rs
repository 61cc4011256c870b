//! The one JSON document of a run. Its shape is fixed (design, section 6): fields are added, never
//! renamed.

use std::collections::BTreeMap;
use std::time::Duration;

use dialtone_contract::{ErrorCode, ExitCode, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::failure::Failure;

/// Version of the document's shape.
pub const SCHEMA_VERSION: u32 = 1;

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// `noun:verb`.
    pub command: String,
    /// The result in one word.
    pub verdict: Verdict,
    /// What the process exits with.
    pub exit_code: u8,
    /// The run.
    pub run_id: String,
    /// Seed of everything random in it.
    pub seed: u64,
    /// Wall time, in seconds.
    pub wall_s: f64,
    /// Time that passed on the run's timeline while the system was under test, in seconds.
    pub simulated_s: f64,
    /// The checks, in the order of the command's plan.
    pub checks: Vec<Check>,
    /// The invariants that were looked at.
    pub invariants: Vec<Invariant>,
    /// Flat names, finite numbers.
    pub metrics: Metrics,
    /// Thresholds.
    pub thresholds: Vec<Threshold>,
    /// The cases of a matrix.
    pub cases: Vec<Case>,
    /// What lies in the run folder: name to path relative to it.
    pub artifacts: BTreeMap<String, String>,
    /// Why the run did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorRecord>,
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// It could not be judged; the detail says why.
    Skipped,
    /// The run ended before it.
    NotRun,
}

/// One yes-or-no line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Its stable name.
    pub name: String,
    /// What became of it.
    pub status: CheckStatus,
    /// How long it took.
    pub duration_ms: f64,
    /// What was seen.
    pub detail: String,
    /// Code of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// What to do about the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// One invariant of the system under test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invariant {
    /// Its stable name.
    pub name: String,
    /// Whether it holds.
    pub holds: bool,
    /// What breaks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// One threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// As it was written.
    pub expr: String,
    /// The metric that it reads.
    pub metric: String,
    /// What was seen.
    pub observed: Number,
    /// Whether it was kept.
    pub passed: bool,
}

/// One case of a matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Its result.
    pub verdict: Verdict,
    /// Its checks.
    pub checks: Vec<Check>,
    /// Its metrics.
    pub metrics: Metrics,
}

/// Why a run did not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// The stable code.
    pub code: ErrorCode,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// Figures of a run. What is not finite is not kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metrics(BTreeMap<String, Number>);

impl Metrics {
    /// Sets one figure.
    pub fn set(&mut self, name: &str, value: f64) {
        if let Some(number) = number(value) {
            self.0.insert(name.to_owned(), number);
        }
    }

    /// Reads one figure.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(Number::as_f64)
    }

    /// Every figure, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Number)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl Envelope {
    /// A document with nothing in it but its identity and a passed verdict.
    pub fn new(command: &str, run_id: &str, seed: u64) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            command: command.to_owned(),
            verdict: Verdict::Passed,
            exit_code: ExitCode::Passed.code(),
            run_id: run_id.to_owned(),
            seed,
            wall_s: 0.0,
            simulated_s: 0.0,
            checks: Vec::new(),
            invariants: Vec::new(),
            metrics: Metrics::default(),
            thresholds: Vec::new(),
            cases: Vec::new(),
            artifacts: BTreeMap::new(),
            error: None,
        }
    }

    /// The document of a command that ended before it had a run.
    pub fn of_failure(command: &str, run_id: &str, seed: u64, failure: &Failure) -> Self {
        let mut envelope = Self::new(command, run_id, seed);
        envelope.set_exit(failure.exit);
        envelope.error = Some(ErrorRecord::from(failure));
        envelope
    }

    /// Sets code and verdict together.
    pub fn set_exit(&mut self, exit: ExitCode) {
        self.exit_code = exit.code();
        self.verdict = exit.verdict();
    }

    /// How many checks ended so.
    pub fn count(&self, status: CheckStatus) -> usize {
        self.checks.iter().filter(|check| check.status == status).count()
    }

    /// The document as text.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("the envelope is plain data");
        text.push('\n');
        text
    }
}

impl Check {
    /// A check that ended so.
    pub fn new(name: &str, status: CheckStatus, took: Duration, detail: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            status,
            duration_ms: millis(took),
            detail: detail.into(),
            code: None,
            hint: None,
        }
    }

    /// A check that did not hold.
    pub fn failed(name: &str, took: Duration, failure: &Failure) -> Self {
        Self {
            code: Some(failure.code),
            hint: Some(failure.advice().to_owned()),
            ..Self::new(name, CheckStatus::Failed, took, failure.message.clone())
        }
    }
}

impl From<&Failure> for ErrorRecord {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.code,
            message: failure.message.clone(),
            hint: failure.advice().to_owned(),
        }
    }
}

/// Milliseconds, cut to microseconds.
pub fn millis(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

/// A figure as JSON writes it best: whole numbers without a fraction.
fn number(value: f64) -> Option<Number> {
    /// Up to here every whole number has a double of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and within the range above")]
        return Some(Number::from(value as i64));
    }
    Number::from_f64((value * 1e6).round() / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Envelope {
        let mut envelope = Envelope::new("batch:test", "7f3a", 42);
        let failure = Failure::new(ErrorCode::WrongCounts, "completed is 23, planned 24");
        envelope.wall_s = 2.413;
        envelope.simulated_s = 579.1;
        envelope.checks = vec![
            Check::new("ready", CheckStatus::Passed, Duration::from_millis(231), "3 services"),
            Check::failed("counts", Duration::from_micros(1500), &failure),
            Check::new("teardown", CheckStatus::NotRun, Duration::ZERO, ""),
        ];
        envelope.invariants = vec![
            Invariant { name: "nothing_lost".into(), holds: true, detail: None },
            Invariant { name: "one_report".into(), holds: false, detail: Some("two".into()) },
        ];
        envelope.metrics.set("entries", 149.0);
        envelope.metrics.set("dispatch_p50_ms", 0.8125);
        envelope.metrics.set("nothing", f64::NAN);
        envelope.artifacts.insert("result".into(), "result.json".into());
        envelope.error = Some(ErrorRecord::from(&failure));
        envelope.set_exit(ExitCode::CheckFailed);
        envelope
    }

    #[test]
    fn the_document_has_its_fixed_shape() {
        insta::assert_snapshot!(sample().to_json());
    }

    #[test]
    fn the_document_reads_back() {
        let read: Envelope = serde_json::from_str(&sample().to_json()).expect("reads back");
        assert_eq!(read, sample());
    }

    #[test]
    fn a_failure_alone_makes_a_whole_document() {
        let failure = Failure::new(ErrorCode::Usage, "--total must be at least 1");
        let envelope = Envelope::of_failure("batch:test", "7f3a", 1, &failure);
        insta::assert_snapshot!(envelope.to_json());
    }
}
