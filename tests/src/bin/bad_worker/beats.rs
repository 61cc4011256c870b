use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dialtone_contract::wire::{Heartbeat, WorkerDetails, WorkerHealth};
use dialtone_serve::HttpClient;
use serde_json::Value;
use tokio::time::MissedTickBehavior;

use crate::{SLOTS, Shared};

static SEQ: AtomicU64 = AtomicU64::new(0);

/// Tells the hive at once, when the model is there, and then at every interval.
pub async fn send(shared: Arc<Shared>, port: u16) {
    if shared.is("no_beats") {
        return;
    }
    if shared.is("beats_garbage") {
        let _ = post(&shared, &serde_json::json!({ "worker_id": "w" })).await;
        return;
    }
    beat(&shared, port, WorkerHealth::Starting).await;
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    while !shared.health.is_ready() {
        looks.tick().await;
    }
    let mut ticks = tokio::time::interval(shared.args.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut sent, mut lost) = (0, 0);
    while !shared.stop.is_cancelled() {
        ticks.tick().await;
        sent += 1;
        if shared.is("one_beat") && sent > 1 {
            return;
        }
        let arrived = beat(&shared, port, WorkerHealth::Healthy).await;
        if !arrived && shared.is("gives_up") {
            return;
        }
        lost += usize::from(!arrived);
        if !arrived && shared.is("sends_again") {
            // The same beat under the same number, until it arrives.
            SEQ.fetch_sub(1, Ordering::Relaxed);
        }
        if arrived && lost > 0 && shared.is("floods_hive") {
            // Late, and many.
            tokio::time::sleep(Duration::from_millis(50)).await;
            for _ in 0..20 {
                beat(&shared, port, WorkerHealth::Healthy).await;
            }
            lost = 0;
        }
    }
}

/// The last words.
pub async fn goodbye(shared: &Shared, port: u16) {
    if !shared.is("no_beats") && !shared.is("beats_garbage") {
        beat(shared, port, WorkerHealth::Stopped).await;
    }
}

async fn beat(shared: &Shared, port: u16, health_status: WorkerHealth) -> bool {
    let seq = SEQ.fetch_add(if shared.is("skips_seq") { 2 } else { 1 }, Ordering::Relaxed);
    let worker_id = match shared.is("beats_for_another") {
        true => "worker-of-somebody-else".to_owned(),
        false => shared.args.worker_id.clone(),
    };
    let nonce = match shared.is("beats_of_another") {
        true => "another life".to_owned(),
        false => shared.nonce.clone(),
    };
    let beat = Heartbeat {
        worker: WorkerDetails {
            id: worker_id.clone(),
            pid: std::process::id(),
            model_id: shared.args.model_id(),
            backend: shared.backend().to_owned(),
            device: "feathers".to_owned(),
            port,
            status: "idle".to_owned(),
            implementation: "bad-worker".to_owned(),
            version: "1".to_owned(),
        },
        worker_id,
        timestamp: now(),
        health_status,
        seq,
        nonce: Some(nonce),
        slots_total: SLOTS,
        slots_busy: shared.slots.busy(),
        queue_depth: 0,
        tokens_per_sec: 0.0,
        rss_bytes: Some(1024),
    };
    post(shared, &serde_json::to_value(beat).expect("plain data")).await
}

fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = i64::try_from(since.as_micros()).unwrap_or_default();
    dialtone_clock::Timestamp::from_micros(micros).to_string()
}

async fn post(shared: &Shared, beat: &Value) -> bool {
    let url = format!("{}/heartbeat/workers", shared.args.hive_url);
    let client = HttpClient::default().with_timeout(Duration::from_millis(500));
    client.post_json::<_, Value>(&url, None, beat).await.is_ok()
}
