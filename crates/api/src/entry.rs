//! The entries of a batch, page by page.

use axum::extract::{Path, State};
use dialtone_batch::entry_view;
use dialtone_contract::wire::EntryPage;
use dialtone_contract::{BatchId, ErrorCode, FieldError, Problem, limits};
use dialtone_serve::problem::{Json, Query};
use serde::Deserialize;

use crate::Shared;
use crate::error::Failure;
use crate::tenant::Tenant;

/// Entries on a page that names no limit.
const PAGE_DEFAULT: u32 = 100;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EntriesQuery {
    /// Entries on the page, 100 if not given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Show whole phone numbers.
    #[serde(default)]
    reveal: bool,
}

/// The entries of a batch, by place in it.
#[utoipa::path(
    get, path = "/batch/{batch_id}/entries", operation_id = "batch_entries", tag = "batches",
    params(("batch_id" = String, Path, description = "The batch."), EntriesQuery),
    responses((status = 200, description = "One page.", body = EntryPage))
)]
pub async fn list(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Path(batch_id): Path<String>,
    Query(query): Query<EntriesQuery>,
) -> Result<Json<EntryPage>, Failure> {
    let batch_id = BatchId::new(batch_id);
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=limits::PAGE_MAX).contains(&limit) {
        let detail = format!("{limit} is not between 1 and {}", limits::PAGE_MAX);
        let error = FieldError::new("/query/limit", "out_of_range", detail);
        return Err(Problem::invalid(vec![error]).into());
    }
    // The cursor is the place of the last entry of the page before.
    let after = query.cursor.as_deref().map_or(Ok(0), str::parse).map_err(|_| {
        let error = FieldError::new("/query/cursor", "invalid", "not a cursor of this listing");
        Problem::invalid(vec![error])
    })?;
    if api.store.batch(&tenant, &batch_id).await?.is_none() {
        return Err(ErrorCode::NotFound.into());
    }
    let rows = api.store.entries(&tenant, &batch_id, after, limit).await?;
    let full = rows.len() == limit as usize;
    let next_cursor = rows.last().filter(|_| full).map(|(entry, _)| entry.key.seq.to_string());
    let view = |(entry, calls): &(_, Vec<_>)| entry_view(entry, calls, query.reveal);
    Ok(Json(EntryPage { items: rows.iter().map(view).collect(), next_cursor }))
}
