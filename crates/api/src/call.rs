//! The agents' side: dial claim, heartbeat, status, callback. The bearer is the
//! capability of the attempt; it names the tenant, so an agent needs no API key.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use dialtone_contract::wire::{
    CallStatusRequest, CallStatusResponse, ClaimRequest, ClaimResponse, EntryCompletedRequest,
    EntryCompletedResponse, HeartbeatRequest, HeartbeatResponse,
};
use dialtone_contract::{CallId, ErrorCode, FieldError, Problem, TenantId, limits};
use dialtone_serve::problem::{Json, OptionalJson};

use crate::error::Failure;
use crate::tenant::bearer;
use crate::{Api, Shared};

/// The tenant of the call that the request's capability was made for.
pub(crate) fn tenant(
    api: &Api,
    headers: &HeaderMap,
    call_id: &CallId,
) -> Result<TenantId, Failure> {
    let capability = bearer(headers).ok_or(ErrorCode::BadCapability)?;
    let tenant = api.capabilities.verify(capability, call_id.as_str());
    Ok(TenantId::new(tenant.map_err(|_| ErrorCode::BadCapability)?))
}

fn refused(pointer: &str, code: &str, detail: String) -> Failure {
    Problem::invalid(vec![FieldError::new(pointer, code, detail)]).into()
}

/// Win the right to ring the callee for this attempt.
#[utoipa::path(
    post, path = "/batch/calls/{call_id}/claim", operation_id = "claim_dial", tag = "agents", security(("capability" = [])),
    params(("call_id" = String, Path, description = "The call.")),
    request_body = Option<ClaimRequest>,
    responses((status = 200, description = "The dial is yours.", body = ClaimResponse)),
    extensions(("x-problems" = json!(["already_claimed", "stale_attempt", "cancelled"])))
)]
pub async fn claim(
    State(api): Shared,
    Path(call_id): Path<String>,
    headers: HeaderMap,
    OptionalJson(request): OptionalJson<ClaimRequest>,
) -> Result<Json<ClaimResponse>, Failure> {
    let call_id = CallId::new(call_id);
    let tenant = tenant(&api, &headers, &call_id)?;
    let claimer = request.and_then(|request| request.claimer);
    if claimer.as_ref().is_some_and(|claimer| claimer.len() > limits::CLAIMER_MAX) {
        let detail = format!("longer than {} bytes", limits::CLAIMER_MAX);
        return Err(refused("/claimer", "too_large", detail));
    }
    Ok(Json(api.calls.claim(&tenant, &call_id, claimer).await?))
}

/// Say that the call is under way, and hear whether to go on.
#[utoipa::path(
    post, path = "/batch/calls/{call_id}/heartbeat", operation_id = "heartbeat", tag = "agents", security(("capability" = [])),
    params(("call_id" = String, Path, description = "The call.")),
    responses((status = 200, description = "Whether to go on.", body = HeartbeatResponse)),
    extensions(("x-problems" = json!(["not_claimed", "stale_attempt"])))
)]
pub async fn heartbeat(
    State(api): Shared,
    Path(call_id): Path<String>,
    headers: HeaderMap,
    Json(request): Json<HeartbeatRequest>,
) -> Result<Json<HeartbeatResponse>, Failure> {
    let call_id = CallId::new(call_id);
    let tenant = tenant(&api, &headers, &call_id)?;
    Ok(Json(api.calls.heartbeat(&tenant, &call_id, &request).await?))
}

/// Say where the call stands.
#[utoipa::path(
    post, path = "/batch/calls/{call_id}/status", operation_id = "call_status", tag = "agents", security(("capability" = [])),
    params(("call_id" = String, Path, description = "The call.")),
    responses((status = 200, description = "What it changed.", body = CallStatusResponse)),
    extensions(("x-problems" = json!(["not_claimed", "stale_attempt"])))
)]
pub async fn status(
    State(api): Shared,
    Path(call_id): Path<String>,
    headers: HeaderMap,
    Json(request): Json<CallStatusRequest>,
) -> Result<Json<CallStatusResponse>, Failure> {
    let call_id = CallId::new(call_id);
    let tenant = tenant(&api, &headers, &call_id)?;
    Ok(Json(api.calls.status(&tenant, &call_id, &request).await?))
}

/// Report the outcome of a call; idempotent.
#[utoipa::path(
    post, path = "/batch/entry-completed", operation_id = "entry_completed", tag = "agents", security(("capability" = [])),
    responses((status = 200, description = "What it changed.", body = EntryCompletedResponse)),
    extensions(("x-problems" = json!(["not_found", "not_claimed", "stale_attempt", "outcome_conflict"])))
)]
pub async fn completed(
    State(api): Shared,
    headers: HeaderMap,
    Json(request): Json<EntryCompletedRequest>,
) -> Result<Json<EntryCompletedResponse>, Failure> {
    let tenant = tenant(&api, &headers, &request.call_id)?;
    if !request.status.is_reportable() {
        let detail = format!("`{}` is decided by the platform, not reported", request.status);
        return Err(refused("/status", "invalid", detail));
    }
    if let Some(ms) = request.duration_ms.filter(|ms| *ms > limits::DURATION_MS_MAX) {
        let detail = format!("{ms} is more than {}", limits::DURATION_MS_MAX);
        return Err(refused("/duration_ms", "out_of_range", detail));
    }
    // A task of its own: an agent that hangs up must not leave a callback that was applied
    // and that nobody counted.
    let completed = async move { api.calls.completed(&tenant, &request).await };
    Ok(Json(tokio::spawn(completed).await.map_err(|_| ErrorCode::Internal)??))
}
