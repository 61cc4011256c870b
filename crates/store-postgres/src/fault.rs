//! What goes wrong, and what that means for a write.

use dialtone_store::StoreError;
use tokio_postgres::error::{Severity, SqlState};

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{}", said(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// The database cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// No answer came in time; the connection is given up.
    #[error("the database did not answer within {} s", crate::session::ANSWER.as_secs())]
    Silent,
    /// A column holds what no version of this program wrote.
    #[error("{0}")]
    Row(String),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// What the rows say cannot be.
    #[error("{0}")]
    Impossible(String),
}

pub(crate) type Result<T> = std::result::Result<T, Fault>;

/// What the server said, or why there is no answer. The values of a row are left out: they
/// can be numbers of people.
pub(crate) fn said(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    match (error.as_db_error(), error.source()) {
        (Some(db), _) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// How far a write had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its transaction was open: whatever happened, nothing is committed.
    Open,
    /// Its commit had been sent.
    Commit,
}

/// A write that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    pub(crate) phase: Phase,
}

pub(crate) type Ended<T> = std::result::Result<T, Failed>;

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { fault, phase: Phase::Open }
    }
}

impl Fault {
    /// As the failure of a write whose commit had been sent.
    pub(crate) fn at_commit(self) -> Failed {
        Failed { fault: self, phase: Phase::Commit }
    }

    fn state(&self) -> Option<&SqlState> {
        match self {
            Self::Postgres(error) => error.code(),
            _ => None,
        }
    }

    /// Whether the server itself says that the transaction is undone, and lives on. A session
    /// that is being ended says nothing about its transaction.
    pub(crate) fn is_undone(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        let severity = error.as_db_error().map(tokio_postgres::error::DbError::parsed_severity);
        severity == Some(Some(Severity::Error))
    }

    /// Two transactions were in each other's way, and this one was undone for it.
    pub(crate) fn is_conflict(&self) -> bool {
        let conflicts = [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE];
        self.state().is_some_and(|state| conflicts.contains(state))
    }

    /// Whether the fault lies in what was asked for, so that it would show again.
    pub(crate) fn is_of_the_request(&self) -> bool {
        matches!(StoreError::from_fault(self), StoreError::Corrupt(_))
    }
}

impl Failed {
    /// Whether to do it again is safe, and may help.
    pub(crate) fn may_be_repeated(&self) -> bool {
        self.fault.is_conflict()
    }

    /// The ports' word for it. Many callers may wait for one write.
    pub(crate) fn store_error(&self) -> StoreError {
        match self.phase {
            Phase::Commit if !self.fault.is_undone() => StoreError::Unknown(self.fault.to_string()),
            _ => StoreError::from_fault(&self.fault),
        }
    }
}

/// The ports' words for errors of PostgreSQL.
trait FromFault {
    fn from_fault(fault: &Fault) -> Self;
}

impl FromFault for StoreError {
    /// For what is not committed: a read, or a transaction that is undone.
    fn from_fault(fault: &Fault) -> Self {
        let text = fault.to_string();
        match fault {
            Fault::Unreachable(_) | Fault::Silent => Self::Unavailable(text),
            Fault::Row(_) | Fault::Json(_) | Fault::Impossible(_) => Self::Corrupt(text),
            Fault::Postgres(error) => match error.code().map(SqlState::code) {
                Some("53100") => Self::Full(text),
                // Integrity violations, values that no column takes, damaged pages.
                Some(code)
                    if ["22", "23", "XX001", "XX002"].iter().any(|of| code.starts_with(of)) =>
                {
                    Self::Corrupt(text)
                }
                _ => Self::Unavailable(text),
            },
        }
    }
}

/// Of a read: nothing was to be written.
impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        Self::from_fault(&fault)
    }
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        failed.store_error()
    }
}
