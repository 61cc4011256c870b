//! What a worker tells about itself: `/health`, `/ready`, `/slots`, `/props`, `/info`.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use dialtone_contract::wire::WorkerDetails;
use dialtone_contract::{ErrorCode, Problem};
use dialtone_serve::problem::{ProblemResponse, Query};
use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::{Phase, Worker};

const IMPLEMENTATION: &str = "llm-worker";

/// 200 as long as the process answers, from its first moment on.
pub async fn health(State(worker): State<Worker>) -> Response {
    let (shared, phase) = (&worker.0, worker.phase().borrow().clone());
    let mut body = json!({
        "status": if matches!(phase, Phase::Failed { .. }) { "failed" } else { "ok" },
        "state": worker.state(),
        "progress": worker.progressed(),
        "model": shared.identity.model_id,
        "backend": shared.identity.backend,
        "device": worker.device(),
        "worker_id": shared.identity.worker_id,
        "version": shared.identity.version,
        "pid": std::process::id(),
        "uptime_ms": u64::try_from(shared.started.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    if let Some(nonce) = &shared.nonce {
        body["nonce"] = json!(nonce);
    }
    if let Phase::Failed { code, reason } = phase {
        body["error"] = json!({ "code": code.as_str(), "message": reason });
    }
    axum::Json(body).into_response()
}

/// 200 if requests are taken, 503 if not yet or no more.
pub async fn ready(State(worker): State<Worker>) -> Response {
    let phase = worker.phase().borrow().clone();
    let mut body = json!({ "ready": phase == Phase::Ready, "state": worker.state() });
    match phase {
        Phase::Ready => {
            let stats = worker.stats().unwrap_or_default();
            body["slots_free"] = json!(stats.slots_total.saturating_sub(stats.slots_busy));
            return axum::Json(body).into_response();
        }
        Phase::Loading => body["progress"] = json!(worker.progressed()),
        Phase::Failed { code, reason } => {
            body["error"] = json!({ "code": code.as_str(), "message": reason });
        }
        Phase::Draining | Phase::Stopped => {}
    }
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, axum::Json(body)).into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Parameters of `/slots`.
#[derive(Deserialize)]
pub struct SlotsQuery {
    /// 503 if every slot is busy.
    fail_on_no_slot: Option<String>,
}

/// What each slot does.
pub async fn slots(
    State(worker): State<Worker>,
    Query(query): Query<SlotsQuery>,
) -> Result<Response, ProblemResponse> {
    let slots = worker.model().map(|serving| serving.engine.slots()).unwrap_or_default();
    let busy = slots.iter().all(|slot| slot.request.is_some());
    if busy && query.fail_on_no_slot.is_some_and(|asked| !["", "0"].contains(&asked.as_str())) {
        return Err(Problem::new(ErrorCode::Overloaded, "no slot is free").into());
    }
    Ok(axum::Json(slots).into_response())
}

/// What holds for a request that does not say otherwise.
pub async fn props(State(worker): State<Worker>) -> Response {
    let (shared, stats) = (&worker.0, worker.stats().unwrap_or_default());
    let mut defaults = json!(shared.options.sampling);
    defaults["max_tokens"] = json!(shared.options.max_tokens);
    axum::Json(json!({
        "default_generation_settings": defaults,
        "total_slots": stats.slots_total,
        "n_ctx": worker.model().map(|serving| serving.engine.shape().context),
        "kv_tokens": stats.kv_total,
        "model_alias": shared.identity.model_id,
        "build_info": format!("{IMPLEMENTATION} {}", shared.identity.version),
    }))
    .into_response()
}

/// Who this is, what it runs, and what it has done.
pub async fn info(State(worker): State<Worker>) -> Response {
    axum::Json(json!({
        "worker": worker.details(),
        "model": worker.model().map(|serving| json!(serving.info)),
        "engine": worker.stats().map_or(Value::Null, |stats| json!(stats)),
        "slots": worker.stats().map_or(0, |stats| stats.slots_total),
        "context": worker.model().map(|serving| serving.engine.shape().context),
        "uptime_ms": u64::try_from(worker.0.started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }))
    .into_response()
}

/// Cancels a request by the id of its answer.
pub async fn cancel(
    State(worker): State<Worker>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    if worker.model().is_some_and(|serving| serving.engine.cancel(&id)) {
        return Ok(axum::Json(json!({ "id": id, "cancelled": true })).into_response());
    }
    Err(Refusal::unknown(format!("no request `{id}` runs or waits here")))
}

impl Worker {
    /// Where it stands, in one word for clients.
    pub(crate) fn state(&self) -> &'static str {
        match &*self.phase().borrow() {
            Phase::Loading => "loading",
            Phase::Ready if self.stats().is_some_and(|stats| stats.slots_busy > 0) => "busy",
            Phase::Ready => "idle",
            Phase::Draining | Phase::Stopped => "draining",
            Phase::Failed { .. } => "failed",
        }
    }

    /// What computes; empty until the model is there.
    fn device(&self) -> String {
        self.model().map(|serving| serving.device.clone()).unwrap_or_default()
    }

    /// Who it is, as heartbeats tell it.
    pub(crate) fn details(&self) -> WorkerDetails {
        let identity = &self.0.identity;
        let status = match &*self.phase().borrow() {
            Phase::Loading => "starting",
            Phase::Stopped => "stopped",
            _ => self.state(),
        };
        WorkerDetails {
            id: identity.worker_id.clone(),
            pid: std::process::id(),
            model_id: identity.model_id.clone(),
            backend: identity.backend.clone(),
            device: self.device(),
            port: self.port(),
            status: status.to_owned(),
            implementation: IMPLEMENTATION.to_owned(),
            version: identity.version.clone(),
        }
    }
}
