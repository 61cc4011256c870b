//! Numbers that may not be called.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use dialtone_auth::{NumberKey, Phone};
use dialtone_contract::wire::{
    OptOutRequest, OptOutResponse, SuppressRequest, SuppressResponse, SuppressionPage,
    SuppressionView,
};
use dialtone_contract::{CallId, ErrorCode, FieldError, Problem, limits};
use dialtone_serve::problem::{Json, OptionalJson, Query};
use serde::Deserialize;

use crate::Shared;
use crate::call;
use crate::error::Failure;
use crate::tenant::Tenant;

/// Numbers on a page that names no limit.
const PAGE_DEFAULT: u32 = 100;
/// Source of numbers that came without one.
const SOURCE: &str = "api";

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SuppressionsQuery {
    /// Numbers on the page, 100 if not given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The numbers that may not be called, by the hashes that they are kept as.
#[utoipa::path(
    get, path = "/suppressions", operation_id = "suppressions", tag = "suppressions",
    params(SuppressionsQuery),
    responses((status = 200, description = "One page.", body = SuppressionPage))
)]
pub async fn list(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Query(query): Query<SuppressionsQuery>,
) -> Result<Json<SuppressionPage>, Failure> {
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=limits::PAGE_MAX).contains(&limit) {
        let detail = format!("{limit} is not between 1 and {}", limits::PAGE_MAX);
        return Err(refused("/query/limit", "out_of_range", &detail));
    }
    // The cursor is the id of the last number of the page before.
    let after = query.cursor.as_deref().map(str::parse::<NumberKey>).transpose();
    let after =
        after.map_err(|_| refused("/query/cursor", "invalid", "not a cursor of this listing"))?;
    let rows = api.suppressions.page(&tenant, after, limit).await?;
    let full = rows.len() == limit as usize;
    let next_cursor = rows.last().filter(|_| full).map(|row| row.number.to_string());
    let view = |row: dialtone_store::SuppressionRow| SuppressionView {
        id: row.number.to_string(),
        source: row.source,
        created_at: row.created_at,
    };
    Ok(Json(SuppressionPage { items: rows.into_iter().map(view).collect(), next_cursor }))
}

/// Suppress numbers for every batch of the tenant, those under way included.
#[utoipa::path(
    post, path = "/suppressions", operation_id = "suppress", tag = "suppressions",
    responses((status = 200, description = "They are suppressed.", body = SuppressResponse))
)]
pub async fn add(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Json(request): Json<SuppressRequest>,
) -> Result<Json<SuppressResponse>, Failure> {
    let SuppressRequest { numbers, source } = request;
    let mut errors = Vec::new();
    if !(1..=limits::SUPPRESS_MAX).contains(&numbers.len()) {
        let detail = format!("{} is not between 1 and {}", numbers.len(), limits::SUPPRESS_MAX);
        errors.push(FieldError::new("/numbers", "out_of_range", detail));
    }
    let source = source.unwrap_or_else(|| SOURCE.to_owned());
    let plain = !source.trim().is_empty() && !source.chars().any(char::is_control);
    if !plain || source.len() > limits::SUPPRESS_SOURCE_MAX {
        let detail = format!("must be 1 to {} visible bytes", limits::SUPPRESS_SOURCE_MAX);
        errors.push(FieldError::new("/source", "invalid", detail));
    }
    let mut phones = Vec::with_capacity(numbers.len());
    for (index, number) in numbers.iter().take(limits::SUPPRESS_MAX).enumerate() {
        match Phone::parse(number) {
            Ok(phone) => phones.push(phone),
            Err(error) if errors.len() < limits::REJECTS_SHOWN => {
                let at = format!("/numbers/{index}");
                errors.push(FieldError::new(at, "invalid", error.to_string()));
            }
            Err(_) => {}
        }
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors).into());
    }
    Ok(Json(api.suppressions.add(&tenant, &phones, &source).await?))
}

/// Take a number off the list, by itself or by the id that the listing shows.
#[utoipa::path(
    delete, path = "/suppressions/{number}", operation_id = "unsuppress", tag = "suppressions",
    params(("number" = String, Path, description = "The number in E.164, or its id.")),
    responses((status = 204, description = "It may be called again.")),
    extensions(("x-problems" = json!(["invalid"])))
)]
pub async fn remove(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Path(number): Path<String>,
) -> Result<StatusCode, Failure> {
    let removed = match (Phone::parse(&number), number.parse::<NumberKey>()) {
        (Ok(phone), _) => api.suppressions.remove(&tenant, &phone).await?,
        (_, Ok(key)) => api.suppressions.remove_key(&tenant, key).await?,
        (Err(error), _) => return Err(refused("/path/number", "invalid", &error.to_string())),
    };
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(ErrorCode::NotFound.into()) }
}

/// Pass on that the callee wants no more calls; the call goes on to its end.
#[utoipa::path(
    post, path = "/batch/calls/{call_id}/opt-out", operation_id = "opt_out", tag = "agents", security(("capability" = [])),
    params(("call_id" = String, Path, description = "The call.")),
    request_body = Option<OptOutRequest>,
    responses((status = 200, description = "The number is suppressed.", body = OptOutResponse)),
    extensions(("x-problems" = json!(["not_claimed"])))
)]
pub async fn opt_out(
    State(api): Shared,
    Path(call_id): Path<String>,
    headers: HeaderMap,
    OptionalJson(request): OptionalJson<OptOutRequest>,
) -> Result<Json<OptOutResponse>, Failure> {
    let call_id = CallId::new(call_id);
    let tenant = call::tenant(&api, &headers, &call_id)?;
    // It says nothing yet; what is not empty was refused.
    let OptOutRequest {} = request.unwrap_or_default();
    Ok(Json(api.calls.opt_out(&tenant, &call_id).await?))
}

fn refused(pointer: &str, code: &str, detail: &str) -> Failure {
    Problem::invalid(vec![FieldError::new(pointer, code, detail)]).into()
}
