//! Problems (RFC 9457) as answers, and extractors that answer with them.

mod extract;
mod pointer;
mod query;

use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use dialtone_contract::{ErrorCode, Problem};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::Value;

pub use extract::{Json, OptionalJson, RawBody, body_failure};
pub use pointer::read as read_json;
pub use query::Query;

/// Media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// Seconds after which a client that was turned away for load may try again.
const RETRY_AFTER_S: u32 = 1;

/// A problem as an answer, with the status that it names. 429 and 503 carry
/// `Retry-After`.
#[derive(Clone, Debug, PartialEq)]
pub struct ProblemResponse(pub Problem);

impl From<Problem> for ProblemResponse {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<Box<Problem>> for ProblemResponse {
    fn from(problem: Box<Problem>) -> Self {
        Self(*problem)
    }
}

impl From<ErrorCode> for ProblemResponse {
    fn from(code: ErrorCode) -> Self {
        Self(Problem::new(code, ""))
    }
}

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        respond(&self.0, None)
    }
}

/// The answer for `problem`, with one member more where `extra` has one.
pub(crate) fn respond(problem: &Problem, extra: Option<(&str, Value)>) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut body = serde_json::to_value(problem).unwrap_or_default();
    if let (Some((name, value)), Some(members)) = (extra, body.as_object_mut()) {
        members.insert(name.to_owned(), value);
    }
    let mut response = (status, body.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        headers.insert(RETRY_AFTER, RETRY_AFTER_S.into());
    }
    response
}

/// A layer that lets bodies of up to `bytes` through to the routes it is laid on, in
/// place of the server's own limit. It binds the extractors; a handler that takes the
/// body as a stream must count for itself.
pub fn body_limit(bytes: usize) -> DefaultBodyLimit {
    DefaultBodyLimit::max(bytes)
}
