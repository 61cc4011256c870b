//! The memory engine passes the conformance suite.

use std::sync::Arc;

use dialtone_store::Store;
use dialtone_store::memory::MemoryStore;

async fn empty() -> (Arc<dyn Store>, ()) {
    (Arc::new(MemoryStore::new()), ())
}

dialtone_store::conformance_suite!(empty);
