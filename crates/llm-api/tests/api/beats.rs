use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use dialtone_contract::ErrorCode;
use dialtone_contract::wire::{Heartbeat, WorkerHealth};
use dialtone_llm_api::heartbeat::{Heartbeats, Options};
use dialtone_serve::{Limits, ListenArgs, listen, serve};
use hyper::StatusCode;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::rig::{Rig, soon, until};

const INTERVAL: Duration = Duration::from_millis(50);

/// A hive that writes down what it hears.
#[derive(Clone, Default)]
struct Hive(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    beats: Vec<(Instant, Heartbeat)>,
    answer: Answer,
}

#[derive(Clone, Copy, Default)]
enum Answer {
    #[default]
    Ok,
    Broken,
    Never,
}

impl Hive {
    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answers(&self, answer: Answer) {
        self.heard().answer = answer;
    }

    fn beats(&self) -> Vec<Heartbeat> {
        self.heard().beats.iter().map(|(_, beat)| beat.clone()).collect()
    }

    fn statuses(&self) -> Vec<WorkerHealth> {
        self.beats().iter().map(|beat| beat.health_status).collect()
    }

    async fn until(&self, what: &str, holds: impl Fn(&[Heartbeat]) -> bool) {
        until(what, async || holds(&self.beats())).await;
    }

    /// Serves on a port, a free one for 0, until the token is cancelled.
    fn start(&self, port: u16) -> (u16, CancellationToken, JoinHandle<()>) {
        let listener = listen("hive", &ListenArgs { port, ..ListenArgs::default() });
        let listener = listener.expect("the port");
        let port = listener.local_addr().expect("an address").port();
        let router = Router::new().route("/heartbeat/workers", post(hear)).with_state(self.clone());
        let stop = CancellationToken::new();
        let serving = serve(listener, router, Limits::default(), stop.clone());
        (port, stop, tokio::spawn(async { serving.await.map(|_| ()).expect("served") }))
    }
}

async fn hear(State(hive): State<Hive>, axum::Json(beat): axum::Json<Heartbeat>) -> StatusCode {
    let answer = {
        let mut heard = hive.heard();
        heard.beats.push((Instant::now(), beat));
        heard.answer
    };
    match answer {
        Answer::Ok => StatusCode::OK,
        Answer::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        Answer::Never => std::future::pending().await,
    }
}

fn beating(rig: &Rig, port: u16) -> Heartbeats {
    within(rig, port, crate::rig::HANG)
}

fn within(rig: &Rig, port: u16, timeout: Duration) -> Heartbeats {
    // The slash at the end is as users write it.
    let hive = format!("http://127.0.0.1:{port}/").parse().expect("a URL");
    Heartbeats::start(rig.worker.clone(), Options { hive, interval: INTERVAL, timeout })
}

fn rising(beats: &[Heartbeat]) -> bool {
    beats.windows(2).all(|pair| pair[0].seq < pair[1].seq)
}

#[tokio::test]
async fn a_life_is_told_from_the_first_moment_to_the_last() {
    let (rig, hive) = (Rig::loading(), Hive::default());
    let (port, _stop, _task) = hive.start(0);
    let heartbeats = beating(&rig, port);
    hive.until("the first beat", |beats| !beats.is_empty()).await;
    rig.open(2).await;
    hive.until("three healthy beats", |beats| {
        beats.iter().filter(|beat| beat.health_status == WorkerHealth::Healthy).count() >= 3
    })
    .await;
    rig.worker.finish(Duration::from_secs(1)).await.expect("finished");
    rig.worker.stopped();
    soon("the last beat", heartbeats.finish()).await;
    let beats = hive.beats();
    let first = &beats[0];
    assert_eq!((first.health_status, first.seq), (WorkerHealth::Starting, 0));
    assert_eq!((first.worker_id.as_str(), first.worker.status.as_str()), ("worker-1", "starting"));
    assert_eq!(first.worker.port, rig.addr.port());
    assert_eq!(first.slots_total, 0);
    assert!(first.timestamp.ends_with('Z'), "{}", first.timestamp);
    let ready = beats.iter().find(|beat| beat.health_status == WorkerHealth::Healthy);
    let ready = ready.expect("a healthy beat");
    assert_eq!((ready.slots_total, ready.worker.status.as_str()), (2, "idle"));
    assert_eq!(ready.worker.model_id, crate::rig::MODEL);
    let last = beats.last().expect("a last beat");
    assert_eq!(
        (last.health_status, last.worker.status.as_str()),
        (WorkerHealth::Stopped, "stopped")
    );
    assert!(rising(&beats));
    assert_eq!(
        hive.statuses().iter().filter(|status| **status == WorkerHealth::Stopped).count(),
        1
    );
}

#[tokio::test]
async fn a_hive_that_comes_back_hears_again_and_sees_the_gap() {
    let (rig, hive) = (Rig::ready().await, Hive::default());
    let (port, stop, task) = hive.start(0);
    let heartbeats = beating(&rig, port);
    hive.until("a beat", |beats| !beats.is_empty()).await;
    stop.cancel();
    task.await.expect("stopped");
    let before = hive.beats().len();
    // Nobody listens: beats fail, requests are served.
    until("beats fail", async || {
        rig.metric(r#"worker_heartbeats_total{result="failed"}"#).await >= Some(3.0)
    })
    .await;
    let answer = rig.post("/v1/completions", serde_json::json!({ "prompt": "y" })).await;
    assert_eq!(answer.status, 200);
    let (_, _stop, _task) = hive.start(port);
    hive.until("beats again", |beats| beats.len() > before).await;
    let beats = hive.beats();
    assert!(rising(&beats));
    assert!(beats[before].seq > beats[before - 1].seq + 3, "the gap is not seen");
    drop(heartbeats);
}

#[tokio::test]
async fn a_hive_that_fails_or_hangs_is_told_again() {
    let (rig, hive) = (Rig::ready().await, Hive::default());
    let (port, _stop, _task) = hive.start(0);
    hive.answers(Answer::Broken);
    let heartbeats = within(&rig, port, INTERVAL);
    hive.until("three tries", |beats| beats.len() >= 3).await;
    assert_eq!(rig.metric(r#"worker_heartbeats_total{result="sent"}"#).await, None);
    hive.answers(Answer::Never);
    let before = hive.beats().len();
    // Each is given up in time, none waits for another.
    hive.until("three more", |beats| beats.len() >= before + 3).await;
    assert!(rising(&hive.beats()));
    // The end does not wait for it either.
    rig.worker.stopped();
    let begun = Instant::now();
    soon("the last beat", heartbeats.finish()).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(hive.beats().last().map(|beat| beat.health_status), Some(WorkerHealth::Stopped));
}

#[tokio::test]
async fn a_failure_is_told() {
    let (rig, hive) = (Rig::loading(), Hive::default());
    let (port, _stop, _task) = hive.start(0);
    let heartbeats = beating(&rig, port);
    hive.until("the first beat", |beats| !beats.is_empty()).await;
    rig.worker.fail(ErrorCode::ModelInvalid, "it is truncated");
    soon("the last beat", heartbeats.finish()).await;
    let last = hive.beats().pop().expect("a beat");
    assert_eq!((last.health_status, last.worker.status.as_str()), (WorkerHealth::Failed, "failed"));
}
