//! The API's router over any store.

pub mod model;
pub mod step;

use std::path::Path;
use std::sync::Arc;

use dialtone_api::{Access, Api, Streams, Uploads, routes};
use dialtone_auth::{Capabilities, NumberKeys, Secret};
use dialtone_batch::{BatchMetrics, Calls, Control, Intake, SuppressionList};
use dialtone_clock::Clock;
use dialtone_store::Store;
use dialtone_store::memory_access::MemoryAccess;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

/// Routes over `store`, with no API keys. Uploads go into `spool`.
pub async fn router(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    secret: &str,
    spool: &Path,
) -> axum::Router {
    let access = Access::new(Arc::new(MemoryAccess::default()), Vec::new()).await;
    let secret = Secret::new(secret);
    let metrics = BatchMetrics::register(&mut Registry::default());
    let numbers = || NumberKeys::new(&secret);
    routes(Api {
        intake: Intake::new(Arc::clone(&store), Arc::clone(&clock), numbers()),
        suppressions: SuppressionList::new(Arc::clone(&store), Arc::clone(&clock), numbers()),
        uploads: Uploads::in_dir(spool.to_owned()),
        control: Control::new(Arc::clone(&store), Arc::clone(&clock)),
        calls: Calls::new(Arc::clone(&store), Arc::clone(&clock), metrics),
        store,
        access: Arc::new(access.expect("read")),
        capabilities: Capabilities::new(&secret),
        streams: Streams::new(CancellationToken::new()),
        clock,
        trouble: None,
    })
}
