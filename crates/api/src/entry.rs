//! The entries of a batch, page by page, and each by itself.

use axum::extract::{Path, State};
use axum::response::Response;
use dialtone_batch::{Look, entry_detail, entry_view};
use dialtone_contract::wire::{EntryDetail, EntryPage};
use dialtone_contract::{BatchId, EntryId, EntryState, ErrorCode, Outcome, limits};
use dialtone_serve::problem::{Json, Query};
use dialtone_store::EntryFilter;
use serde::Deserialize;

use crate::error::Failure;
use crate::tenant::Tenant;
use crate::{Shared, page};

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EntriesQuery {
    /// Only entries in this state.
    state: Option<EntryState>,
    /// Only entries with this outcome.
    outcome: Option<Outcome>,
    /// Entries on the page, 100 if not given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Show whole phone numbers.
    #[serde(default)]
    reveal: bool,
}

impl EntriesQuery {
    /// The same question for the page behind `cursor`.
    fn next(&self, batch: &BatchId, limit: u32, cursor: &str) -> String {
        let mut url = format!("/batch/{batch}/entries?limit={limit}");
        if let Some(state) = self.state {
            url += &format!("&state={state}");
        }
        if let Some(outcome) = self.outcome {
            url += &format!("&outcome={outcome}");
        }
        if self.reveal {
            url += "&reveal=true";
        }
        url + "&cursor=" + cursor
    }
}

/// The entries of a batch, by place in it.
///
/// With a filter one request looks at so many entries only: a page may have fewer than `limit`
/// and still a next one.
#[utoipa::path(
    get, path = "/batch/{batch_id}/entries", operation_id = "batch_entries", tag = "batches",
    params(("batch_id" = String, Path, description = "The batch."), EntriesQuery),
    responses((status = 200, description = "One page.", body = EntryPage,
        headers(("Link" = String, description = "The next page, as `rel=\"next\"`."))))
)]
pub async fn list(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Path(batch_id): Path<String>,
    Query(query): Query<EntriesQuery>,
) -> Result<Response, Failure> {
    let batch_id = BatchId::new(batch_id);
    let limit = page::limit(query.limit)?;
    // The cursor is the place of the last entry that was looked at for the page before.
    let after = query.cursor.as_deref().map_or(Ok(0), str::parse);
    let after: u32 = after.map_err(|_| page::bad_cursor())?;
    let batch = api.store.batch(&tenant, &batch_id).await?.ok_or(ErrorCode::NotFound)?;
    let filter = EntryFilter { state: query.state, outcome: query.outcome };
    let total = batch.spec.total;
    // One request looks at so many entries at most, whatever few of them pass the filter.
    let until = after.saturating_add(limits::ENTRIES_SCAN_MAX).min(total);
    let rows = if filter == EntryFilter::default() {
        api.store.entries(&tenant, &batch_id, after, limit).await?
    } else {
        api.store.find_entries(&tenant, &batch_id, filter, after, until, limit).await?
    };
    let full = rows.len() == limit as usize;
    let looked_at = rows.last().filter(|_| full).map_or(until, |(entry, _)| entry.key.seq);
    let next_cursor = (looked_at < total).then(|| looked_at.to_string());
    let next = next_cursor.as_ref().map(|cursor| query.next(&batch.id, limit, cursor));
    let view = |(entry, calls): &(_, Vec<_>)| entry_view(entry, calls, query.reveal);
    page::respond(&EntryPage { items: rows.iter().map(view).collect(), next_cursor }, next)
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DetailQuery {
    /// Show the whole phone number.
    #[serde(default)]
    reveal: bool,
}

/// One entry, and why it stands where it stands.
#[utoipa::path(
    get, path = "/batch/{batch_id}/entries/{entry_id}", operation_id = "batch_entry",
    tag = "batches",
    params(
        ("batch_id" = String, Path, description = "The batch."),
        ("entry_id" = String, Path, description = "The entry."),
        DetailQuery,
    ),
    responses((status = 200, description = "The entry.", body = EntryDetail))
)]
pub async fn detail(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Path((batch_id, entry_id)): Path<(String, String)>,
    Query(query): Query<DetailQuery>,
) -> Result<Json<EntryDetail>, Failure> {
    let key = EntryId::new(entry_id).key().map_err(|_| ErrorCode::NotFound)?;
    if key.batch.as_str() != batch_id {
        return Err(ErrorCode::NotFound.into());
    }
    let livekit = api.trouble.as_ref().and_then(|trouble| trouble.borrow().livekit.clone());
    let look = Look { reveal: query.reveal, livekit, now: api.clock.now() };
    let found = entry_detail(&*api.store, &tenant, &key, &look).await?;
    Ok(Json(found.ok_or(ErrorCode::NotFound)?))
}
