//! The memory engine passes the conformance suite.

use std::sync::Arc;

use dialtone_store::Store;
use dialtone_store::memory::MemoryStore;
use dialtone_store::memory_access::MemoryAccess;

async fn empty() -> (Arc<dyn Store>, ()) {
    (Arc::new(MemoryStore::new()), ())
}

dialtone_store::conformance_suite!(empty);

#[tokio::test]
async fn access_is_as_every_engine_has_it() {
    dialtone_store::conformance::access(&MemoryAccess::default()).await;
}
