use std::fmt;

use dialtone_contract::ErrorCode;

/// A failure that the user is told about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Its stable code.
    pub code: ErrorCode,
    /// What happened here, as a lower-case fragment.
    pub message: String,
    /// What was tried before.
    pub tried: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), tried: Vec::new(), hint: None }
    }

    /// The environment does not allow it: `what` failed for `error`.
    pub fn environment(what: impl fmt::Display, error: impl fmt::Display) -> Self {
        Self::new(ErrorCode::Environment, format!("{what}: {error}"))
    }

    /// Says what to do where the registry's words are too general.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what was tried before.
    #[must_use]
    pub fn tried(mut self, tried: Vec<String>) -> Self {
        self.tried = tried;
        self
    }

    /// What to do about it.
    pub fn advice(&self) -> &str {
        self.hint.as_deref().unwrap_or(self.code.hint())
    }

    /// As people read it.
    pub fn to_text(&self) -> String {
        let tried: String = self.tried.iter().map(|line| format!("  = {line}\n")).collect();
        let (code, message, advice) = (self.code.as_str(), &self.message, self.advice());
        format!("error[{code}]: {message}\n{tried}  = try: {advice}\n")
    }
}
