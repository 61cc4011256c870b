//! The HTTP surface of `dialtone`: thin handlers over the batch pipeline. A handler
//! reads the request, says whose it is, and translates; it decides nothing.

mod access;
mod batch;
mod call;
mod control;
mod entry;
mod error;
mod events;
mod openapi;
mod page;
mod reject;
mod report;
mod streams;
mod suppression;
mod tenant;
mod upload;
mod wait;

use std::sync::Arc;

use axum::{Extension, Router};
use dialtone_auth::Capabilities;
use dialtone_batch::{Calls, Control, Intake, SuppressionList, Trouble};
use dialtone_clock::Clock;
use dialtone_contract::limits;
use dialtone_serve::problem::body_limit;
use dialtone_store::Store;
use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use access::{Access, guarded};
pub use openapi::document;
pub use streams::Streams;

/// What the handlers work with.
pub struct Api {
    /// Takes in batches.
    pub intake: Intake,
    /// The agents' side of a call.
    pub calls: Calls,
    /// Users' orders to batches.
    pub control: Control,
    /// What there is to read.
    pub store: Arc<dyn Store>,
    /// Knows whose a request is.
    pub access: Arc<Access>,
    /// Numbers that may not be called.
    pub suppressions: SuppressionList,
    /// Where uploaded batches are kept while they are read.
    pub uploads: Uploads,
    /// Checks what agents show.
    pub capabilities: Capabilities,
    /// The event streams that are open.
    pub streams: Streams,
    /// Product time.
    pub clock: Arc<dyn Clock>,
    /// What keeps the dispatcher from working, where this process has one.
    pub trouble: Option<watch::Receiver<Trouble>>,
}

pub use upload::Uploads;

type Shared = axum::extract::State<Arc<Api>>;

/// The routes of the batch pipeline, and `/openapi.json`, which describes them.
pub fn routes(api: Api) -> Router {
    let (routes, document) = router().split_for_parts();
    let document = openapi::Document(openapi::finish(document).into());
    routes.layer(Extension(document)).with_state(Arc::new(api))
}

/// Every route, with its part of the document: a handler that is not annotated cannot be
/// added here.
fn router() -> OpenApiRouter<Arc<Api>> {
    let calls = OpenApiRouter::new()
        .routes(routes!(call::claim))
        .routes(routes!(call::heartbeat))
        .routes(routes!(call::status))
        .routes(routes!(suppression::opt_out))
        .routes(routes!(call::completed))
        .layer(body_limit(limits::CALLBACK_BODY_MAX));
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(batch::list))
        .routes(routes!(upload::trigger_live))
        .routes(routes!(batch::trigger_test))
        .routes(routes!(batch::status))
        .routes(routes!(control::cancel))
        .routes(routes!(control::patch))
        .routes(routes!(control::pause))
        .routes(routes!(control::resume))
        .routes(routes!(control::retry))
        .routes(routes!(control::cancel_entry))
        .routes(routes!(entry::list))
        .routes(routes!(entry::detail))
        .routes(routes!(events::stream))
        .routes(routes!(report::json))
        .routes(routes!(report::json_file))
        .routes(routes!(report::csv))
        .routes(routes!(reject::list))
        .routes(routes!(suppression::list, suppression::add))
        .routes(routes!(suppression::remove))
        .routes(routes!(openapi::serve))
        .merge(calls)
}
