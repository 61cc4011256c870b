use std::error::Error;
use std::process::ExitCode;

use dialtone_contract::{ErrorCode, Problem};

use crate::output;

/// Why the program ends without having done what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: ErrorCode,
    pub message: String,
}

impl Failure {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// With the error and all that lies below it as the message.
    pub fn of(code: ErrorCode, error: &(dyn Error + 'static)) -> Self {
        let all = std::iter::successors(Some(error), |&error| error.source());
        let mut parts: Vec<String> = Vec::new();
        for part in all.map(ToString::to_string) {
            // Many errors repeat what they stand on.
            if !parts.last().is_some_and(|above| above.ends_with(&part)) {
                parts.push(part);
            }
        }
        Self::new(code, parts.join(": "))
    }

    /// Tells it on one line, and gives the exit code to end with.
    pub fn exit(&self) -> ExitCode {
        let (code, hint) = (self.code.as_str(), self.code.hint());
        output::complaint(&format!("error[{code}]: {}; hint: {hint}", self.message));
        ExitCode::from(self.code.exit().code())
    }

    /// As a document for programs.
    pub fn problem(&self) -> Problem {
        Problem::new(self.code, self.message.clone())
    }
}
