//! Users' orders to batches that exist: pause, resume, cancel, limits. Each may be sent
//! twice; the second answer says `applied: false`.

use axum::extract::{Path, State};
use axum::response::Response;
use dialtone_batch::{Controlled, check_limits};
use dialtone_contract::wire::{
    BatchControlled, BatchPatch, CancelRequest, EntryControlled, PatchedLimit, TriggerResponse,
};
use dialtone_contract::{BatchId, BatchState, EntryId, ErrorCode, Problem};
use dialtone_serve::problem::{Json, OptionalJson};
use dialtone_store::BatchLimits;

use crate::Shared;
use crate::error::Failure;
use crate::tenant::Tenant;

fn answer(batch_id: BatchId, done: Controlled<BatchState>) -> Json<BatchControlled> {
    Json(BatchControlled { batch_id, status: done.state, applied: done.applied })
}

/// Claim no more entries until the batch is resumed; calls go on.
#[utoipa::path(
    post, path = "/batch/{batch_id}/pause", operation_id = "pause_batch", tag = "control",
    params(
        ("batch_id" = String, Path, description = "The batch."),
    ),
    responses((status = 200, description = "Where the batch stands now.", body = BatchControlled)),
    extensions(("x-problems" = json!(["state_conflict"])))
)]
pub async fn pause(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Path(batch_id): Path<String>,
) -> Result<Json<BatchControlled>, Failure> {
    let batch_id = BatchId::new(batch_id);
    let done = api.control.pause(&tenant, &batch_id).await?;
    Ok(answer(batch_id, done))
}

/// Claim entries again.
#[utoipa::path(
    post, path = "/batch/{batch_id}/resume", operation_id = "resume_batch", tag = "control",
    params(
        ("batch_id" = String, Path, description = "The batch."),
    ),
    responses((status = 200, description = "Where the batch stands now.", body = BatchControlled)),
    extensions(("x-problems" = json!(["state_conflict"])))
)]
pub async fn resume(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Path(batch_id): Path<String>,
) -> Result<Json<BatchControlled>, Failure> {
    let batch_id = BatchId::new(batch_id);
    let done = api.control.resume(&tenant, &batch_id).await?;
    Ok(answer(batch_id, done))
}

/// Cancel what waits, and let calls go on or hang them up.
#[utoipa::path(
    post, path = "/batch/batch-cancel/{batch_id}", operation_id = "cancel_batch", tag = "control",
    params(
        ("batch_id" = String, Path, description = "The batch."),
    ),
    request_body = Option<CancelRequest>,
    responses((status = 200, description = "Where the batch stands now.", body = BatchControlled)),
    extensions(("x-problems" = json!(["state_conflict"])))
)]
pub async fn cancel(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Path(batch_id): Path<String>,
    OptionalJson(request): OptionalJson<CancelRequest>,
) -> Result<Json<BatchControlled>, Failure> {
    let batch_id = BatchId::new(batch_id);
    let mode = request.unwrap_or_default().mode;
    let done = api.control.cancel(&tenant, &batch_id, mode).await?;
    Ok(answer(batch_id, done))
}

/// Change the limits of a batch while it runs; `null` gives a limit back to what the trigger asked for.
#[utoipa::path(
    patch, path = "/batch/{batch_id}", operation_id = "limit_batch", tag = "control",
    params(
        ("batch_id" = String, Path, description = "The batch."),
    ),
    responses((status = 200, description = "Where the batch stands now.", body = BatchControlled)),
    extensions(("x-problems" = json!(["state_conflict"])))
)]
pub async fn patch(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Path(batch_id): Path<String>,
    Json(patch): Json<BatchPatch>,
) -> Result<Json<BatchControlled>, Failure> {
    let asked = BatchLimits {
        max_concurrent: patch.max_concurrent.asked(),
        calls_per_second: patch.calls_per_second.asked(),
    };
    let errors = check_limits(&asked);
    if !errors.is_empty() {
        return Err(Problem::invalid(errors).into());
    }
    let batch_id = BatchId::new(batch_id);
    let change = |now: BatchLimits| BatchLimits {
        max_concurrent: told(patch.max_concurrent, now.max_concurrent),
        calls_per_second: told(patch.calls_per_second, now.calls_per_second),
    };
    let done = api.control.limit(&tenant, &batch_id, change).await?;
    Ok(answer(batch_id, done))
}

fn told<T>(patch: PatchedLimit<T>, now: Option<T>) -> Option<T> {
    match patch {
        PatchedLimit::Keep => now,
        PatchedLimit::Reset => None,
        PatchedLimit::To(value) => Some(value),
    }
}

/// Cancel one entry; a call under way is hung up.
#[utoipa::path(
    post, path = "/batch/{batch_id}/entries/{entry_id}/cancel", operation_id = "cancel_entry", tag = "control",
    params(
        ("batch_id" = String, Path, description = "The batch."),
        ("entry_id" = String, Path, description = "The entry."),
    ),
    responses((status = 200, description = "Where the entry stands now.", body = EntryControlled)),
    extensions(("x-problems" = json!(["state_conflict"])))
)]
pub async fn cancel_entry(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Path((batch_id, entry_id)): Path<(String, String)>,
) -> Result<Json<EntryControlled>, Failure> {
    let entry_id = EntryId::new(entry_id);
    let key = entry_id.key().map_err(|_| ErrorCode::NotFound)?;
    if key.batch.as_str() != batch_id {
        return Err(ErrorCode::NotFound.into());
    }
    let done = api.control.cancel_entry(&tenant, &key).await?;
    Ok(Json(EntryControlled { entry_id, state: done.state, applied: done.applied }))
}

/// Call the failed entries of an ended batch again, in a batch of their own; asked again,
/// this answers the same batch.
#[utoipa::path(
    post, path = "/batch/{batch_id}/retry", operation_id = "retry_batch", tag = "control",
    params(("batch_id" = String, Path, description = "The ended batch.")),
    responses(
        (status = 202, description = "The batch of the failed entries.", body = TriggerResponse,
            headers(
                ("Location" = String, description = "Where its status is."),
                ("Idempotent-Replayed" = String, description = "`true` if it was made before."),
            )),
    ),
    extensions(("x-problems" = json!(["state_conflict", "nothing_to_retry"])))
)]
pub async fn retry(
    State(api): Shared,
    Tenant(tenant): Tenant,
    Path(batch_id): Path<String>,
) -> Result<Response, Failure> {
    let batch_id = BatchId::new(batch_id);
    // A task of its own: a client that goes away must not leave half a batch behind.
    let retry = async move { api.intake.retry(&tenant, &batch_id).await };
    let triggered = tokio::spawn(retry).await.map_err(|_| ErrorCode::Internal)??;
    crate::batch::answer(triggered)
}
