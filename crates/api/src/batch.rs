//! Batches: trigger, list, status.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::header::{ETAG, IF_NONE_MATCH, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use dialtone_batch::{Triggered, batch_status};
use dialtone_contract::wire::{BatchStatus, TestBatchRequest, TriggerResponse};
use dialtone_contract::{BatchId, BatchState, ErrorCode, FieldError, Problem, TenantId, limits};
use dialtone_serve::problem::{Json, Query};
use dialtone_store::{BatchFilter, BatchRow, Idempotency};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use crate::error::Failure;
use crate::tenant::Tenant;
use crate::{Api, Shared, page, wait};

const KEY: &str = "idempotency-key";
const REPLAYED: &str = "idempotent-replayed";

/// Take in a batch of simulated calls.
///
/// Answers when every entry is in the store. Repeating the request under one
/// `Idempotency-Key` gives the first answer again.
#[utoipa::path(
    post, path = "/batch/trigger-test-batch", operation_id = "trigger_test_batch", tag = "batches",
    params(("Idempotency-Key" = Option<String>, Header, description = "Names the request over its repetitions; 1 to 255 visible characters.", min_length = 1, max_length = 255)),
    responses((
        status = 202, description = "The batch is in the store.", body = TriggerResponse,
        headers(
            ("Location" = String, description = "Where its status is."),
            ("Idempotent-Replayed" = String, description = "`true` if this is the answer to an earlier request."),
        )
    )),
    extensions(("x-problems" = json!(["idempotency_conflict"])))
)]
pub async fn trigger_test(
    State(api): Shared,
    Tenant(tenant): Tenant,
    headers: HeaderMap,
    Json(request): Json<TestBatchRequest>,
) -> Result<Response, Failure> {
    let request = request.spelled_out();
    let idempotency = idempotency(&headers, &request)?;
    // A task of its own: a client that goes away must not leave half a batch behind.
    let intake = async move { api.intake.trigger_test(&tenant, &request, idempotency).await };
    let triggered = tokio::spawn(intake).await.map_err(|_| ErrorCode::Internal)??;
    answer(triggered)
}

/// The answer to what made a batch and has no more to tell of it.
pub(crate) fn answer(triggered: Triggered) -> Result<Response, Failure> {
    let batch = triggered.batch;
    let body = TriggerResponse {
        job_id: batch.job(),
        batch_id: batch.clone(),
        status: BatchState::Accepted,
    };
    accepted(&batch, triggered.replayed, body)
}

/// The answer that says that a batch has been taken in, now or before.
pub(crate) fn accepted(
    batch: &BatchId,
    replayed: bool,
    body: impl Serialize,
) -> Result<Response, Failure> {
    let location = format!("/batch/batch-status/{batch}");
    let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
    let location = HeaderValue::from_str(&location).map_err(|_| ErrorCode::Internal)?;
    response.headers_mut().insert(LOCATION, location);
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// The request's idempotency key, with a hash of what it asks for: of the fields, so
/// that spaces and their order make no other request.
fn idempotency(
    headers: &HeaderMap,
    request: &impl Serialize,
) -> Result<Option<Idempotency>, Failure> {
    let Some(key) = idempotency_key(headers)? else { return Ok(None) };
    let canonical = serde_json::to_vec(request).expect("requests are plain data");
    let request_hash =
        Sha256::digest(&canonical).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(Idempotency { key, request_hash }))
}

/// The key under which a request may be repeated.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get(KEY) else { return Ok(None) };
    let key =
        value.to_str().ok().filter(|key| (1..=limits::IDEMPOTENCY_KEY_MAX).contains(&key.len()));
    let key = key.ok_or_else(|| {
        let detail = format!("must be 1 to {} visible characters", limits::IDEMPOTENCY_KEY_MAX);
        Problem::invalid(vec![FieldError::new("/header/Idempotency-Key", "invalid", detail)])
    })?;
    Ok(Some(key.to_owned()))
}

/// A tenant's batches.
#[derive(Serialize, ToSchema)]
pub struct BatchPage {
    /// The batches, newest first.
    items: Vec<BatchStatus>,
    /// Pass as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Only batches in this state.
    state: Option<BatchState>,
    /// Batches on the page, 100 if not given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The tenant's batches, newest first.
#[utoipa::path(
    get, path = "/batch", operation_id = "batches", tag = "batches",
    params(ListQuery),
    responses((status = 200, description = "One page.", body = BatchPage,
        headers(("Link" = String, description = "The next page, as `rel=\"next\"`."))))
)]
pub async fn list(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Query(query): Query<ListQuery>,
) -> Result<Response, Failure> {
    let limit = page::limit(query.limit)?;
    // The cursor is the last batch of the page before.
    let before = query.cursor.map(|cursor| {
        let token = cursor.strip_prefix("bat_").unwrap_or_default();
        let plain = !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric());
        plain.then(|| BatchId::new(&*cursor)).ok_or_else(page::bad_cursor)
    });
    let filter = BatchFilter { state: query.state, before: before.transpose()? };
    // One more than fits says whether there is a next page.
    let mut rows = api.store.batches(&tenant, &filter, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = rows.last().filter(|_| more).map(|row| row.id.to_string());
    let next = next_cursor.as_ref().map(|cursor| {
        let state = query.state.map(|state| format!("&state={state}")).unwrap_or_default();
        format!("/batch?limit={limit}{state}&cursor={cursor}")
    });
    let items = rows.iter().map(batch_status).collect();
    page::respond(&BatchPage { items, next_cursor }, next)
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct StatusQuery {
    /// Wait for so long for a change: `20s` at most, `500ms`, or bare seconds.
    #[param(pattern = "^(0*([0-9]|1[0-9]|20)s?|0*([0-9]{1,4}|1[0-9]{4}|20000)ms)$")]
    wait: Option<String>,
}

/// Where a batch stands; every figure is the one at `event_seq`.
///
/// With `wait` the answer comes as soon as the batch differs from what `If-None-Match` names
/// (without it: from what it is now), has ended, or the wait is over.
#[utoipa::path(
    get, path = "/batch/batch-status/{batch_id}", operation_id = "batch_status", tag = "batches",
    params(
        ("batch_id" = String, Path, description = "The batch."),
        StatusQuery,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier answer."),
    ),
    responses(
        (status = 200, description = "The status.", body = BatchStatus,
            headers(("ETag" = String, description = "`event_seq`, quoted."))),
        (status = 304, description = "The status is the one that `If-None-Match` names.",
            headers(("ETag" = String, description = "`event_seq`, quoted."))),
    )
)]
pub async fn status(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Path(batch_id): Path<String>,
    Query(query): Query<StatusQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let batch_id = BatchId::new(batch_id);
    let wait = query.wait.as_deref().map_or(Ok(Duration::ZERO), wait::parse)?;
    let known = headers.get(IF_NONE_MATCH).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
    let row = later_status(&api, &tenant, &batch_id, known.as_deref(), wait).await?;
    let tag = etag(&row);
    let header = HeaderValue::from_str(&tag).map_err(|_| ErrorCode::Internal)?;
    let mut response = if known.as_deref() == Some(tag.as_str()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Json(batch_status(&row)).into_response()
    };
    response.headers_mut().insert(ETAG, header);
    Ok(response)
}

fn etag(row: &BatchRow) -> String {
    format!("\"{}\"", row.event_seq)
}

/// The batch as soon as it differs from what the client knows (without that: from what
/// it is now), has ended, or the wait is over.
async fn later_status(
    api: &Api,
    tenant: &TenantId,
    batch: &BatchId,
    known: Option<&str>,
    wait: Duration,
) -> Result<BatchRow, Failure> {
    let until = Instant::now() + wait;
    let mut changes = api.store.changes();
    let mut known = known.map(str::to_owned);
    loop {
        // Interest first, then the look: a change in between is seen.
        changes.mark_unchanged();
        let row = api.store.batch(tenant, batch).await?.ok_or(ErrorCode::NotFound)?;
        let tag = etag(&row);
        let news = known.as_ref().is_some_and(|known| *known != tag);
        if news || row.state.is_terminal() || Instant::now() >= until {
            return Ok(row);
        }
        known.get_or_insert(tag);
        // Running out of time is no error: the loop answers with what there is.
        let _ = timeout_at(until, changes.changed()).await;
    }
}
