//! The shared engine passes the conformance suite.

mod support;

use std::sync::Arc;

use dialtone_contract::TenantId;
use dialtone_store::conformance::Walk;
use dialtone_store::memory::MemoryStore;
use dialtone_store::{Directory as _, Store};

async fn empty() -> Option<(Arc<dyn Store>, Arc<support::Shared>)> {
    let (store, _, cluster) = support::store("conformance").await?;
    Some((Arc::new(store), cluster))
}

dialtone_store::conformance_suite!(empty);

#[tokio::test]
async fn access_is_as_every_engine_has_it() {
    let Some((store, _place, _cluster)) = support::store("access").await else { return };
    dialtone_store::conformance::access(&store).await;
    let acme = TenantId::new("acme");
    assert!(store.has_voice(&acme, "v").await.expect("read"));
    assert!(store.has_user(&acme, 7).await.expect("read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_random_walks_agree_with_memory() {
    for seed in 2..6 {
        let Some((store, _place, _cluster)) = support::store("walks").await else { return };
        Walk::new(seed, 400).run(&MemoryStore::new(), &store).await;
    }
}
