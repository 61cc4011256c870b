use axum::response::{IntoResponse, Response};
use dialtone_batch::upload::UploadError;
use dialtone_batch::{CallError, ControlError, IntakeError};
use dialtone_contract::{ErrorCode, Problem};
use dialtone_serve::problem::ProblemResponse;
use dialtone_store::StoreError;

/// Any failure of a handler, as the problem that it becomes.
#[derive(Debug, PartialEq)]
pub struct Failure(Box<Problem>);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        ProblemResponse::from(self.0).into_response()
    }
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Problem::new(code, "").into()
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        // Logged here, where it is handled; the client learns no more than it can use.
        tracing::error!(%error, "store failed");
        match error {
            StoreError::Full(_) => ErrorCode::StorageFull.into(),
            StoreError::Unavailable(_) | StoreError::Unknown(_) => {
                Problem::new(ErrorCode::Overloaded, "the store did not confirm the write").into()
            }
            StoreError::Corrupt(_) => ErrorCode::Internal.into(),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(code) => code.into(),
            CallError::Store(error) => error.into(),
        }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NotFound => ErrorCode::NotFound.into(),
            ControlError::Conflict { .. } => {
                Problem::new(ErrorCode::StateConflict, error.to_string()).into()
            }
            ControlError::NothingToRetry => ErrorCode::NothingToRetry.into(),
            ControlError::Store(error) => error.into(),
        }
    }
}

impl From<UploadError> for Failure {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::NotJson(detail) => Problem::new(ErrorCode::NotJson, detail).into(),
            UploadError::Invalid(field) => Problem::invalid(vec![field]).into(),
            UploadError::Io(error) => {
                tracing::error!(%error, "an upload cannot be read back");
                ErrorCode::Internal.into()
            }
        }
    }
}

impl From<IntakeError> for Failure {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Invalid(errors) => Problem::invalid(errors).into(),
            IntakeError::KeyConflict => ErrorCode::IdempotencyConflict.into(),
            IntakeError::Rows { bad, all, first } => Problem::bad_rows(bad, all, first).into(),
            IntakeError::Upload(error) => error.into(),
            IntakeError::ReaderDied => ErrorCode::Internal.into(),
            IntakeError::Store(error) => error.into(),
        }
    }
}
