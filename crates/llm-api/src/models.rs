//! `GET /v1/models`.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::{Worker, id};

/// The one model that is served.
pub async fn list(State(worker): State<Worker>) -> Response {
    axum::Json(json!({ "object": "list", "data": [worker.listed()] })).into_response()
}

/// The model of a name.
pub async fn get(
    State(worker): State<Worker>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    worker.check_model(Some(&name))?;
    Ok(axum::Json(worker.listed()).into_response())
}

impl Worker {
    fn listed(&self) -> Value {
        let up = self.0.started.elapsed().as_secs();
        let mut listed = json!({
            "id": self.0.identity.model_id,
            "object": "model",
            "created": id::unix_seconds().saturating_sub(up),
            "owned_by": "dialtone",
        });
        if let Some(serving) = self.model() {
            listed["meta"] = json!(serving.info);
        }
        listed
    }
}
