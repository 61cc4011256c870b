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
fn tenant(api: &Api, headers: &HeaderMap, call_id: &CallId) -> Result<TenantId, Failure> {
    let capability = bearer(headers).ok_or(ErrorCode::BadCapability)?;
    let tenant = api.capabilities.verify(capability, call_id.as_str());
    Ok(TenantId::new(tenant.map_err(|_| ErrorCode::BadCapability)?))
}

fn refused(pointer: &str, code: &str, detail: String) -> Failure {
    Problem::invalid(vec![FieldError::new(pointer, code, detail)]).into()
}

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
    Ok(Json(api.calls.completed(&tenant, &request).await?))
}
