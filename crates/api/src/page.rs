//! What listings have in common.

use axum::http::HeaderValue;
use axum::http::header::LINK;
use axum::response::{IntoResponse, Response};
use dialtone_contract::{ErrorCode, FieldError, Problem, limits};
use dialtone_serve::problem::Json;
use serde::Serialize;

use crate::error::Failure;

/// Items on a page that names no limit.
const LIMIT_DEFAULT: u32 = 100;

/// How many items a page may have.
pub fn limit(asked: Option<u32>) -> Result<u32, Failure> {
    let limit = asked.unwrap_or(LIMIT_DEFAULT);
    if (1..=limits::PAGE_MAX).contains(&limit) {
        return Ok(limit);
    }
    let detail = format!("{limit} is not between 1 and {}", limits::PAGE_MAX);
    Err(Problem::invalid(vec![FieldError::new("/query/limit", "out_of_range", detail)]).into())
}

/// A cursor that no page gave.
pub fn bad_cursor() -> Failure {
    let error = FieldError::new("/query/cursor", "invalid", "not a cursor of this listing");
    Problem::invalid(vec![error]).into()
}

/// The page, with a link to the next one where there is one.
pub fn respond(page: &impl Serialize, next: Option<String>) -> Result<Response, Failure> {
    let mut response = Json(page).into_response();
    if let Some(next) = next {
        let link = HeaderValue::from_str(&format!("<{next}>; rel=\"next\""));
        response.headers_mut().insert(LINK, link.map_err(|_| ErrorCode::Internal)?);
    }
    Ok(response)
}
