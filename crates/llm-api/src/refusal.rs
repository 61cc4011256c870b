//! Errors under `/v1`, as OpenAI's API writes them and its clients read them.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use dialtone_contract::{ErrorCode, Problem};
use dialtone_inference::engine::Refused;
use hyper::StatusCode;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;

/// Paths that answer errors in this way; all others answer problems.
pub const PREFIX: &str = "/v1/";
const JSON: &str = "application/json";

/// The class of a refusal (`type`), which decides the exception that OpenAI's clients raise
/// together with the status.
mod kind {
    pub const REQUEST: &str = "invalid_request_error";
    pub const KEY: &str = "authentication_error";
    pub const LOAD: &str = "rate_limit_error";
    pub const AWAY: &str = "service_unavailable_error";
    pub const SERVER: &str = "server_error";
}

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    message: String,
    kind: &'static str,
    param: Option<String>,
    code: Option<&'static str>,
    retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct Document<'a> {
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: Option<&'static str>,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, message, kind, param: None, code: None, retry_after: None }
    }

    fn coded(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    fn about(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()).filter(|param| !param.is_empty()), ..self }
    }

    fn later(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// 400: `param` has a value that cannot be served.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, kind::REQUEST, message)
            .about(param)
            .coded("invalid_value")
    }

    /// 400: `param` asks for something that this server does not do.
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: Some("unsupported_parameter"), ..Self::invalid(param, message) }
    }

    /// 400: `param` is needed and was not sent.
    pub fn missing(param: &'static str) -> Self {
        let message = format!("you must provide `{param}`");
        Self { code: Some("missing_required_parameter"), ..Self::invalid(param, message) }
    }

    /// 400: the prompt does not fit.
    pub fn too_long(message: impl Into<String>) -> Self {
        Self { code: Some("context_length_exceeded"), ..Self::invalid("", message) }
    }

    /// 404: another model was named.
    pub fn model(asked: &str, served: &str) -> Self {
        let message = format!("the model `{asked}` does not exist; this worker serves `{served}`");
        Self::new(StatusCode::NOT_FOUND, kind::REQUEST, message)
            .about("model")
            .coded("model_not_found")
    }

    /// 404: no such request, or no longer.
    pub fn unknown(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, kind::REQUEST, what).coded("not_found")
    }

    /// 409: it has been done already.
    pub fn taken(what: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, kind::REQUEST, what).coded("already_taken")
    }

    /// 401: no key, or not the right one.
    pub fn key() -> Self {
        let message = "the API key is missing or wrong; send `Authorization: Bearer KEY`";
        Self::new(StatusCode::UNAUTHORIZED, kind::KEY, message).coded("invalid_api_key")
    }

    /// 429: there is no room now.
    pub fn full(message: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, kind::LOAD, message)
            .coded("queue_full")
            .later(retry_after)
    }

    /// 503: the worker takes nothing, now or for ever.
    pub fn away(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, kind::AWAY, message)
            .coded(code)
            .later(Duration::from_secs(1))
    }

    /// 500: the model or the server failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, kind::SERVER, message).coded("internal")
    }

    /// The document as an event of a stream that has begun: the status is out already.
    pub fn document(&self) -> Vec<u8> {
        let error = Error {
            message: &self.message,
            r#type: self.kind,
            param: self.param.as_deref(),
            code: self.code,
        };
        serde_json::to_vec(&Document { error }).unwrap_or_default()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, [(CONTENT_TYPE, JSON)], self.document()).into_response();
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            // Whole seconds, never too early.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, seconds.max(1).into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        match refused {
            Refused::Full { retry_after, .. } => Self::full(message, retry_after),
            Refused::Draining => Self::away("draining", message),
            Refused::Failed { .. } => Self::away("failed", message),
            Refused::TooLong { .. } => Self::too_long(message),
            Refused::Invalid { field, .. } => Self::invalid(field, message),
        }
    }
}

impl From<Problem> for Refusal {
    /// What an extractor refuses. A field that is not valid is a 400 here.
    fn from(problem: Problem) -> Self {
        let said = if problem.detail.is_empty() { problem.title } else { problem.detail };
        if problem.errors.first().is_some_and(|error| error.pointer.is_empty()) {
            // What the reader says would name a type of this program.
            return Self::invalid("", "the body must be one JSON object");
        }
        if let Some(error) = problem.errors.first() {
            return Self::invalid(path(&error.pointer), said);
        }
        let status = StatusCode::from_u16(problem.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = if status.is_server_error() { kind::SERVER } else { kind::REQUEST };
        Self::new(status, kind, said).coded(problem.code.as_str())
    }
}

/// A JSON pointer as OpenAI writes places in a request: `messages[0].content`.
fn path(pointer: &str) -> String {
    pointer.split('/').skip(1).fold(String::new(), |mut path, part| {
        if part.bytes().all(|byte| byte.is_ascii_digit()) && !part.is_empty() {
            path.push_str(&format!("[{part}]"));
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&part.replace("~1", "/").replace("~0", "~"));
        }
        path
    })
}

/// Gives what the router itself refuses under [`PREFIX`] the same form.
pub async fn of_routing(request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with(PREFIX) {
        return next.run(request).await;
    }
    let asked = format!("{} {}", request.method(), request.uri().path());
    let response = next.run(request).await;
    let status = response.status();
    let json = response.headers().get(CONTENT_TYPE).is_some_and(|media| media == JSON);
    if json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let code = match status {
        StatusCode::NOT_FOUND => "unknown_url",
        StatusCode::METHOD_NOT_ALLOWED => ErrorCode::MethodNotAllowed.as_str(),
        _ => ErrorCode::BadRequest.as_str(),
    };
    let allowed = response.headers().get(ALLOW).map(|allow| (ALLOW, allow.clone()));
    let message = format!("`{asked}` is not served here ({status})");
    let mut refused = Refusal::new(status, kind::REQUEST, message).coded(code).into_response();
    refused.headers_mut().extend(allowed);
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_in_python() {
        assert_eq!(path("/messages/0/content"), "messages[0].content");
        assert_eq!(path("/stream_options/include_usage"), "stream_options.include_usage");
        assert_eq!(path("/a~1b"), "a/b");
        assert_eq!(path(""), "");
    }

    #[test]
    fn an_empty_place_is_no_place() {
        let whole =
            Problem::invalid(vec![dialtone_contract::FieldError::new("", "wrong_type", "x")]);
        let document = String::from_utf8(Refusal::from(whole).document()).expect("text");
        assert!(document.contains(r#""param":null"#), "{document}");
    }
}
