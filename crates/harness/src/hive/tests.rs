//! A hive as its workers meet it.

use dialtone_contract::wire::{Heartbeat, WorkerDetails, WorkerHealth};
use dialtone_serve::{ClientError, HttpClient};

use super::*;

const SOON: Duration = Duration::from_secs(5);

fn hive() -> MockHive {
    MockHive::start(Port::bind("hive", 0).expect("a free port"), &Bus::new()).expect("listening")
}

fn beat(seq: u64) -> Heartbeat {
    Heartbeat {
        worker_id: "w".into(),
        timestamp: "2026-01-01T00:00:00Z".into(),
        health_status: WorkerHealth::Healthy,
        seq,
        nonce: None,
        worker: WorkerDetails {
            id: "w".into(),
            pid: 1,
            model_id: "m".into(),
            backend: "cpu".into(),
            device: "0".into(),
            port: 1,
            status: "idle".into(),
            implementation: "llm-worker".into(),
            version: "1".into(),
        },
        slots_total: 4,
        slots_busy: 0,
        queue_depth: 0,
        tokens_per_sec: 0.0,
        rss_bytes: None,
    }
}

async fn post(hive: &MockHive, beat: &Heartbeat) -> Result<serde_json::Value, ClientError> {
    let client = HttpClient::default().with_timeout(SOON);
    client.post_json(&format!("{}{HEARTBEATS}", hive.url()), None, beat).await
}

fn seqs(book: &Book) -> Vec<u64> {
    book.arrivals().iter().flat_map(|arrival| &arrival.beat).map(|beat| beat.seq).collect()
}

#[tokio::test]
async fn beats_are_kept_in_order_and_waited_for() {
    let hive = hive();
    let book = hive.book().clone();
    let waiting = tokio::spawn(async move { book.until(SOON, |beats, _| beats.len() == 2).await });
    for seq in 0..2 {
        post(&hive, &beat(seq)).await.expect("taken");
    }
    assert!(waiting.await.expect("no panic"));
    assert_eq!((seqs(hive.book()), hive.book().total()), (vec![0, 1], 2));
    assert!(!hive.book().until(Duration::from_millis(20), |beats, _| beats.len() > 2).await);
}

#[tokio::test]
async fn a_hive_that_was_down_is_back_on_its_port() {
    let mut hive = hive();
    post(&hive, &beat(0)).await.expect("taken");
    hive.down().await.expect("down");
    assert!(!hive.is_up());
    post(&hive, &beat(1)).await.expect_err("nobody is there");
    assert!(hive.book().refused() >= 1);
    hive.up().await.expect("up");
    post(&hive, &beat(2)).await.expect("taken");
    assert_eq!(seqs(hive.book()), [0, 2]);
    let port = hive.port();
    let book = hive.stop().await;
    assert_eq!(book.total(), 2);
    Port::bind("hive", port).expect("the port is free again");
}

#[tokio::test]
async fn moods_are_what_workers_see() {
    let hive = hive();
    hive.set(Mood::Status(500));
    assert!(matches!(post(&hive, &beat(0)).await, Err(ClientError::Status { .. })));
    hive.set(Mood::Slow(Duration::from_millis(50)));
    let began = std::time::Instant::now();
    post(&hive, &beat(1)).await.expect("taken");
    assert!(began.elapsed() >= Duration::from_millis(50));
    let statuses: Vec<_> = hive.book().arrivals().iter().map(|arrival| arrival.status).collect();
    assert_eq!(statuses, [500, 200]);
}

#[tokio::test]
async fn what_is_no_beat_is_kept_as_such() {
    let hive = hive();
    let client = HttpClient::default();
    let url = format!("{}{HEARTBEATS}", hive.url());
    let body = serde_json::json!({ "worker_id": "w" });
    client.post_json::<_, serde_json::Value>(&url, None, &body).await.expect_err("refused");
    let arrivals = hive.book().arrivals();
    assert!(arrivals[0].beat.as_ref().is_err_and(|why| why.contains("timestamp")), "{arrivals:?}");
}
