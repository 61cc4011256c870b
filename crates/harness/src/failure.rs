//! Why a run cannot go on, or why a check did not hold.

use dialtone_contract::{ErrorCode, ExitCode};

/// Lines of evidence that a failure carries at most.
pub const EVIDENCE_MAX: usize = 20;

/// A failure that the user is told about: what, the evidence, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Its stable code.
    pub code: ErrorCode,
    /// What happened here, as a lower-case fragment.
    pub message: String,
    /// What proves it: log lines, rows, figures.
    pub evidence: Vec<String>,
    /// What the run exits with for this reason.
    pub exit: ExitCode,
    hint: Option<String>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), evidence: Vec::new(), exit: code.exit(), hint: None }
    }

    /// The environment does not allow the run.
    pub fn environment(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Environment, message)
    }

    /// Adds what proves it; what is past [`EVIDENCE_MAX`] lines is only counted.
    #[must_use]
    pub fn evidence<L: Into<String>>(mut self, lines: impl IntoIterator<Item = L>) -> Self {
        let mut lines: Vec<String> = lines.into_iter().map(Into::into).collect();
        if lines.len() > EVIDENCE_MAX {
            let more = lines.len() - (EVIDENCE_MAX - 1);
            lines.truncate(EVIDENCE_MAX - 1);
            lines.push(format!("and {more} more"));
        }
        self.evidence.extend(lines);
        self
    }

    /// Says what to do where the registry's words are too general.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Ends the run with another code than the registry's.
    #[must_use]
    pub fn exit(mut self, exit: ExitCode) -> Self {
        self.exit = exit;
        self
    }

    /// What to do about it.
    pub fn advice(&self) -> &str {
        self.hint.as_deref().unwrap_or(self.code.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_bounded() {
        let lines: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        let failure = Failure::environment("no").evidence(lines);
        assert_eq!(failure.evidence.len(), EVIDENCE_MAX);
        assert_eq!(failure.evidence.last().map(String::as_str), Some("and 31 more"));
    }
}
