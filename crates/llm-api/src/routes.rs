use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};

use crate::key::{self, ApiKey};
use crate::{Worker, chat, completion, job, models, refusal, status, tokens};

/// Everything that a worker answers, the probes and metrics of its [`Health`] too. With a key,
/// only the probes are open to callers without it.
///
/// [`Health`]: dialtone_serve::health::Health
pub fn routes(worker: &Worker, key: Option<ApiKey>) -> Router {
    let health = worker.0.health.clone();
    let router = Router::new()
        .route("/health", get(status::health))
        .route("/ready", get(status::ready))
        .route("/v1/ready", get(status::ready))
        .route("/slots", get(status::slots))
        .route("/props", get(status::props))
        .route("/info", get(status::info))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::get))
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/completions", post(completion::create))
        .route("/v1/cancel/{id}", post(status::cancel))
        .route("/v1/inference", post(job::create))
        .route("/v1/inference/{id}/stream", get(job::stream).head(job::peek))
        .with_state(worker.clone())
        .merge(health.routes())
        .layer(from_fn(refusal::of_routing));
    let router = match key {
        Some(key) => router.layer(from_fn_with_state(key, key::guard)),
        None => router,
    };
    health.observe(router)
}
