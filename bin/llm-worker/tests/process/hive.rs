use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use dialtone_contract::wire::{Heartbeat, WorkerHealth};
use dialtone_serve::{Limits, ListenArgs, listen, serve};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{NONCE, Worker, eventually};

/// A hive that writes down what it hears.
#[derive(Clone, Default)]
struct Hive(Arc<Mutex<Vec<Heartbeat>>>);

impl Hive {
    fn heard(&self) -> MutexGuard<'_, Vec<Heartbeat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> (String, DropGuard) {
        let listener = listen("hive", &ListenArgs::default()).expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let hear = async |State(hive): State<Self>, axum::Json(beat): axum::Json<Heartbeat>| {
            hive.heard().push(beat);
        };
        let router = Router::new().route("/heartbeat/workers", post(hear)).with_state(self.clone());
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, router, Limits::default(), stop.clone()));
        (url, stop.drop_guard())
    }

    fn count(&self, health: WorkerHealth) -> usize {
        self.heard().iter().filter(|beat| beat.health_status == health).count()
    }
}

#[tokio::test]
async fn the_hive_hears_of_the_whole_life() {
    let hive = Hive::default();
    let (url, _serving) = hive.start();
    let args = ["--hive-url", &url, "--heartbeat-interval", "50ms", "--worker-id", "w-1"];
    let mut worker = Worker::ready(&args).await;
    eventually("three beats of a healthy worker", async || {
        (hive.count(WorkerHealth::Healthy) >= 3).then_some(())
    })
    .await;
    worker.terminate();
    let status = worker.end().await;
    assert_eq!(status.code(), Some(0), "{}", worker.log());
    let beats = hive.heard().clone();
    let port = worker.url.rsplit(':').next().and_then(|port| port.parse().ok());
    for (beat, seq) in beats.iter().zip(0..) {
        assert_eq!((beat.seq, beat.worker_id.as_str()), (seq, "w-1"));
        assert_eq!(beat.nonce.as_deref(), Some(NONCE));
        assert_eq!((beat.worker.pid, Some(beat.worker.port)), (worker.pid(), port));
        assert_eq!(
            (beat.worker.model_id.as_str(), beat.worker.backend.as_str()),
            ("builtin", "cpu")
        );
        assert_eq!(beat.rss_bytes.is_some(), cfg!(target_os = "linux"));
    }
    assert_eq!(beats[0].health_status, WorkerHealth::Starting);
    assert_eq!(beats.last().map(|beat| beat.health_status), Some(WorkerHealth::Stopped));
    assert_eq!(hive.count(WorkerHealth::Stopped), 1);
}

#[tokio::test]
async fn the_hive_hears_of_a_failure() {
    let hive = Hive::default();
    let (url, _serving) = hive.start();
    let mut worker = Worker::start(&["--hive-url", &url, "--model", "no-such.gguf"]).await;
    assert_eq!(worker.end().await.code(), Some(5), "{}", worker.log());
    let last = hive.heard().last().cloned().expect("a beat");
    assert_eq!((last.health_status, last.worker.status.as_str()), (WorkerHealth::Failed, "failed"));
}
