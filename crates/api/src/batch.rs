//! Batches: trigger, list, status, report.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use dialtone_batch::batch_status;
use dialtone_contract::wire::{BatchStatus, TestBatchRequest, TriggerResponse};
use dialtone_contract::{BatchId, BatchState, ErrorCode, FieldError, Problem, TenantId, limits};
use dialtone_serve::problem::{Json, Query};
use dialtone_store::{BatchRow, Idempotency};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};

use crate::error::Failure;
use crate::tenant::Tenant;
use crate::{Api, Shared, wait};

const KEY: &str = "idempotency-key";
const REPLAYED: &str = "idempotent-replayed";

pub async fn trigger_test(
    State(api): Shared,
    Tenant(tenant): Tenant,
    headers: HeaderMap,
    Json(request): Json<TestBatchRequest>,
) -> Result<Response, Failure> {
    let idempotency = idempotency(&headers, &request)?;
    // A task of its own: a client that goes away must not leave half a batch behind.
    let intake = async move { api.intake.trigger_test(&tenant, &request, idempotency).await };
    let triggered = tokio::spawn(intake).await.map_err(|_| ErrorCode::Internal)??;
    let batch = triggered.batch;
    let location = format!("/batch/batch-status/{batch}");
    let body =
        TriggerResponse { job_id: batch.job(), batch_id: batch, status: BatchState::Accepted };
    let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
    let location = HeaderValue::from_str(&location).map_err(|_| ErrorCode::Internal)?;
    response.headers_mut().insert(LOCATION, location);
    if triggered.replayed {
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
    let Some(value) = headers.get(KEY) else { return Ok(None) };
    let key =
        value.to_str().ok().filter(|key| (1..=limits::IDEMPOTENCY_KEY_MAX).contains(&key.len()));
    let key = key.ok_or_else(|| {
        let detail = format!("must be 1 to {} visible characters", limits::IDEMPOTENCY_KEY_MAX);
        Problem::invalid(vec![FieldError::new("/header/Idempotency-Key", "invalid", detail)])
    })?;
    let canonical = serde_json::to_vec(request).expect("requests are plain data");
    let request_hash =
        Sha256::digest(&canonical).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(Idempotency { key: key.to_owned(), request_hash }))
}

#[derive(Serialize)]
pub struct BatchPage {
    items: Vec<BatchStatus>,
}

pub async fn list(State(api): Shared, Tenant(tenant): Tenant) -> Result<Json<BatchPage>, Failure> {
    let batches = api.store.batches(&tenant, limits::PAGE_MAX).await?;
    Ok(Json(BatchPage { items: batches.iter().map(batch_status).collect() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusQuery {
    wait: Option<String>,
}

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

pub async fn report(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Path(batch_id): Path<String>,
) -> Result<Response, Failure> {
    let batch_id = BatchId::new(batch_id);
    let row = api.store.batch(&tenant, &batch_id).await?.ok_or(ErrorCode::NotFound)?;
    let report = api.store.reports(&tenant, &batch_id).await?.into_iter().next();
    let report = report.filter(|_| row.state.is_terminal()).ok_or(ErrorCode::ReportNotReady)?;
    let json = HeaderValue::from_static("application/json");
    Ok(([(CONTENT_TYPE, json)], report).into_response())
}
