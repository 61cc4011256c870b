//! Reports, epochs, the directory.

use std::collections::BTreeSet;
use std::sync::Arc;

use dialtone_contract::BatchId;

use super::fixture::{accepted, at, tenant};
use crate::Store;

pub(super) async fn a_report_is_written_once(store: Arc<dyn Store>) {
    let tenant = tenant("acme");
    let batch = accepted(&*store, &tenant, "report", 1).await;
    assert_eq!(store.reports(&tenant, &batch).await.expect("read"), [""; 0]);
    let writers: Vec<_> = (0..8)
        .map(|n| {
            let (store, tenant, batch) = (Arc::clone(&store), tenant.clone(), batch.clone());
            tokio::spawn(async move {
                let text = format!("report {n}");
                let won = store.put_report(&tenant, &batch, &text, at(9)).await;
                won.expect("answered").then_some(text)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for writer in writers {
        winners.extend(writer.await.expect("no writer panics"));
    }
    assert_eq!(winners.len(), 1, "exactly one report is written");
    assert_eq!(store.reports(&tenant, &batch).await.expect("read"), winners);
    let nowhere = BatchId::from_token("nowhere");
    assert!(!store.put_report(&tenant, &nowhere, "text", at(9)).await.expect("answered"));
    assert_eq!(store.reports(&tenant, &nowhere).await.expect("read"), [""; 0]);
}

pub(super) async fn epochs_rise(store: Arc<dyn Store>) {
    let mut last = 0;
    for _ in 0..5 {
        let epoch = store.next_epoch().await.expect("given");
        assert!(epoch > last);
        last = epoch;
    }
    let takers: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.next_epoch().await.expect("given") })
        })
        .collect();
    let mut taken = BTreeSet::new();
    for taker in takers {
        let epoch = taker.await.expect("no taker panics");
        assert!(epoch > last && taken.insert(epoch), "epoch {epoch} was given twice");
    }
}

pub(super) async fn the_demo_tenant_is_seeded_once(store: Arc<dyn Store>) {
    let (demo, other) = (tenant("demo"), tenant("other"));
    assert!(!store.has_voice(&demo, "demo").await.expect("read"));
    assert!(!store.has_user(&demo, 1).await.expect("read"));
    store.seed_demo().await.expect("seeded");
    store.seed_demo().await.expect("seeded again");
    assert!(store.has_voice(&demo, "demo").await.expect("read"));
    assert!(store.has_user(&demo, 1).await.expect("read"));
    assert!(!store.has_voice(&demo, "other").await.expect("read"));
    assert!(!store.has_user(&demo, 2).await.expect("read"));
    assert!(!store.has_voice(&other, "demo").await.expect("read"));
    assert!(!store.has_user(&other, 1).await.expect("read"));
}
