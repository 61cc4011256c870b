//! The death of PostgreSQL: what was acknowledged is there after, and work goes on by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dialtone_contract::TenantId;
use dialtone_store::{Access as _, StoreError};
use dialtone_store_postgres::{Options, PostgresStore};

use crate::support;

/// How long work may stand still after the database is back.
const RECOVERY: Duration = Duration::from_secs(5);

/// What the writers and the test tell each other.
#[derive(Default)]
struct Told {
    stop: AtomicBool,
    acknowledged: AtomicU32,
}

impl Told {
    /// Waits until so many more writes were acknowledged: an outage strikes a busy store.
    async fn more(&self, n: u32) {
        let until = self.acknowledged.load(Ordering::Relaxed) + n;
        while self.acknowledged.load(Ordering::Relaxed) < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Adds users until told to stop; gives those whose addition was acknowledged, and how many
/// were refused.
async fn add(store: Arc<PostgresStore>, from: i64, told: Arc<Told>) -> (Vec<i64>, u32) {
    let (acme, mut acknowledged, mut refused) = (TenantId::new("acme"), Vec::new(), 0);
    for user in from.. {
        match store.add_user(&acme, user).await {
            Ok(added) => {
                assert!(added, "user {user} was there before");
                acknowledged.push(user);
                told.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => {
                refused += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("an outage is no {error}"),
        }
        if told.stop.load(Ordering::Relaxed) {
            break;
        }
    }
    (acknowledged, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_survives_a_kill_and_work_goes_on() {
    let Some(binaries) = support::binaries("outage") else { return };
    let mut cluster = support::cluster(&binaries, true).await;
    let store = PostgresStore::open(&Options::at(cluster.url()), support::clock()).await;
    let store = Arc::new(store.expect("opened"));
    let acme = TenantId::new("acme");
    assert!(store.add_tenant(&acme).await.expect("added"));
    let told = Arc::new(Told::default());
    let writers: Vec<_> = (0..6)
        .map(|n| tokio::spawn(add(Arc::clone(&store), n * 1_000_000, Arc::clone(&told))))
        .collect();
    for _ in 0..2 {
        told.more(50).await;
        cluster.kill().await;
        let error = store.add_voice(&acme, "none").await.expect_err("it is down");
        assert!(
            matches!(error, StoreError::Unavailable(_) | StoreError::Unknown(_)),
            "an outage is no {error}"
        );
        cluster.restart().await.expect("started again");
        let back = Instant::now();
        while store.tenants().await.is_err() {
            assert!(back.elapsed() < RECOVERY, "work stands still");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    told.more(50).await;
    told.stop.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    for writer in writers {
        let (own, missed) = writer.await.expect("no writer panics");
        acknowledged.extend(own);
        refused += missed;
    }
    assert!(acknowledged.len() >= 150 && refused > 0, "{} and {refused}", acknowledged.len());
    for user in acknowledged {
        // Adding it again finds it there.
        assert!(!store.add_user(&acme, user).await.expect("asked"), "user {user} is gone");
    }
    store.close().await;
    cluster.stop().await;
}
