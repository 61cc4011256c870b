//! The HTTP surface of `dialtone`: thin handlers over the batch pipeline. A handler
//! reads the request, says whose it is, and translates; it decides nothing.

mod batch;
mod call;
mod entry;
mod error;
mod tenant;
mod wait;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use dialtone_auth::Capabilities;
use dialtone_batch::{Calls, Intake};
use dialtone_contract::limits;
use dialtone_serve::problem::body_limit;
use dialtone_store::Store;

/// What the handlers work with.
pub struct Api {
    /// Takes in batches.
    pub intake: Intake,
    /// The agents' side of a call.
    pub calls: Calls,
    /// What there is to read.
    pub store: Arc<dyn Store>,
    /// Checks what agents show.
    pub capabilities: Capabilities,
}

type Shared = axum::extract::State<Arc<Api>>;

/// The routes of the batch pipeline.
pub fn routes(api: Api) -> Router {
    let calls = Router::new()
        .route("/batch/calls/{call_id}/claim", post(call::claim))
        .route("/batch/calls/{call_id}/heartbeat", post(call::heartbeat))
        .route("/batch/calls/{call_id}/status", post(call::status))
        .route("/batch/entry-completed", post(call::completed))
        .layer(body_limit(limits::CALLBACK_BODY_MAX));
    Router::new()
        .route("/batch", get(batch::list))
        .route("/batch/trigger-test-batch", post(batch::trigger_test))
        .route("/batch/batch-status/{batch_id}", get(batch::status))
        .route("/batch/{batch_id}/entries", get(entry::list))
        .route("/batch/{batch_id}/report", get(batch::report))
        .merge(calls)
        .with_state(Arc::new(api))
}
