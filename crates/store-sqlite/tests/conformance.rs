//! The embedded engine passes the conformance suite.

use std::sync::Arc;

use dialtone_clock::{ScaledClock, Timeline};
use dialtone_contract::TenantId;
use dialtone_store::conformance::Walk;
use dialtone_store::memory::MemoryStore;
use dialtone_store::{Directory as _, Store};
use dialtone_store_sqlite::SqliteStore;
use tempfile::TempDir;

async fn empty() -> (Arc<dyn Store>, TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = Arc::new(ScaledClock::new(Timeline::REAL));
    (Arc::new(SqliteStore::open(dir.path(), clock).expect("opened")), dir)
}

dialtone_store::conformance_suite!(empty);

#[tokio::test]
async fn access_is_as_every_engine_has_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = Arc::new(ScaledClock::new(Timeline::REAL));
    let store = SqliteStore::open(dir.path(), clock).expect("opened");
    dialtone_store::conformance::access(&store).await;
    let acme = TenantId::new("acme");
    assert!(store.has_voice(&acme, "v").await.expect("read"));
    assert!(store.has_user(&acme, 7).await.expect("read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_random_walks_agree_with_memory() {
    for seed in 2..10 {
        let (store, _dir) = empty().await;
        Walk::new(seed, 600).run(&MemoryStore::new(), &*store).await;
    }
}
