//! The rows of an upload that were left out, page by page.

use axum::extract::{Path, State};
use dialtone_contract::wire::RejectPage;
use dialtone_contract::{BatchId, ErrorCode, FieldError, Problem, limits};
use dialtone_serve::problem::{Json, Query};
use serde::Deserialize;

use crate::Shared;
use crate::error::Failure;
use crate::tenant::Tenant;

/// Rows on a page that names no limit.
const PAGE_DEFAULT: u32 = 100;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RejectsQuery {
    /// Rows on the page, 100 if not given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The rows of a batch's upload that were left out, by place in it.
#[utoipa::path(
    get, path = "/batch/{batch_id}/rejects", operation_id = "batch_rejects", tag = "batches",
    params(("batch_id" = String, Path, description = "The batch."), RejectsQuery),
    responses((status = 200, description = "One page.", body = RejectPage))
)]
pub async fn list(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Path(batch_id): Path<String>,
    Query(query): Query<RejectsQuery>,
) -> Result<Json<RejectPage>, Failure> {
    let batch_id = BatchId::new(batch_id);
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=limits::PAGE_MAX).contains(&limit) {
        let detail = format!("{limit} is not between 1 and {}", limits::PAGE_MAX);
        let error = FieldError::new("/query/limit", "out_of_range", detail);
        return Err(Problem::invalid(vec![error]).into());
    }
    // The cursor is the last row of the page before.
    let after = query.cursor.as_deref().map_or(Ok(0), str::parse).map_err(|_| {
        let error = FieldError::new("/query/cursor", "invalid", "not a cursor of this listing");
        Problem::invalid(vec![error])
    })?;
    if api.store.batch(&tenant, &batch_id).await?.is_none() {
        return Err(ErrorCode::NotFound.into());
    }
    let items = api.store.rejects(&tenant, &batch_id, after, limit).await?;
    let full = items.len() == limit as usize;
    let last = items.last().filter(|_| full).and_then(|item| item.row);
    Ok(Json(RejectPage { next_cursor: last.map(|row| row.to_string()), items }))
}
