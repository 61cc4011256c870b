//! SIGKILL and SIGTERM at the worst moments: what was acknowledged stays, what was begun
//! ends, and every invariant holds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dialtone_child::Signal;
use dialtone_contract::PlannedOutcome;
use dialtone_contract::wire::BatchStatus;
use dialtone_tests::wait::until;
use dialtone_tests::{Api, Rig, Setup, TestBatch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Guards of at least 1.5 s; lost calls are found within 3 s, retries come within 3 s.
const FACTOR: u32 = 30;

/// A whole batch, its lost calls and retries included.
const BATCH: Duration = Duration::from_secs(60);

/// The moments of a seed: a few small numbers that look like nothing (splitmix64).
fn moments(seed: u64) -> impl Iterator<Item = usize> {
    (1..).map(move |n: u64| {
        let mut x = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((x ^ (x >> 31)) % 20).expect("small")
    })
}

/// Clients that trigger one batch after another, and note what was acknowledged.
struct Clients {
    tasks: JoinSet<()>,
    acknowledged: Arc<Mutex<Vec<(String, u32)>>>,
}

impl Clients {
    fn start(api: &Api, n: u32) -> Self {
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..n {
            let (api, acknowledged, asked) = (api.clone(), acknowledged.clone(), asked.clone());
            tasks.spawn(async move {
                loop {
                    let total = u32::try_from(asked.fetch_add(1, Ordering::Relaxed) % 5 + 1);
                    let total = total.expect("small");
                    let batch = TestBatch::of(total, total / 2, 0, 0).talk_s(1.0);
                    // The server may die while it answers; then nothing was promised.
                    let Some(id) = api.try_trigger(&batch).await else { return };
                    acknowledged.lock().expect("no panic").push((id, total));
                }
            });
        }
        Self { tasks, acknowledged }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().expect("no panic").len()
    }

    /// Stops asking and gives what was acknowledged.
    async fn stop(mut self) -> Vec<(String, u32)> {
        self.tasks.shutdown().await;
        std::mem::take(&mut self.acknowledged.lock().expect("no panic"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_acknowledged_trigger_survives_a_kill() {
    Setup::at(FACTOR)
        .run(async |rig| {
            let mut all = Vec::new();
            for more in moments(7).take(4) {
                let clients = Clients::start(&rig.api, 4);
                until("acknowledged triggers", async || match clients.count() {
                    n if n > more => Ok(()),
                    n => Err(format!("{n} of {more}")),
                })
                .await;
                rig.dialtone.kill().await;
                all.extend(clients.stop().await);
                rig.dialtone.restart().await;
            }
            for (id, total) in &all {
                let status = rig.api.completed(id, BATCH).await;
                assert_eq!(status.by_state.values().sum::<u32>(), *total, "{status:?}");
                rig.verify(id).await;
            }
            for status in rig.api.batches().await {
                let known = all.iter().any(|(id, _)| id.as_str() == status.batch_id.as_str());
                check_unpromised(rig, known, &status).await;
            }
        })
        .await;
}

/// What nobody was told of is whole, or not there.
async fn check_unpromised(rig: &Rig, acknowledged: bool, status: &BatchStatus) {
    if acknowledged {
        return;
    }
    let id = status.batch_id.as_str();
    let status = rig.api.completed(id, BATCH).await;
    assert_eq!(status.by_state.values().sum::<u32>(), status.total_calls);
    rig.verify(id).await;
}

/// A batch that was being written when its server died was promised to nobody: it never
/// runs, and its key is free.
#[tokio::test]
async fn a_batch_that_was_half_written_never_runs() {
    Setup::at(FACTOR)
        .run(async |rig| {
            let batch = TestBatch::of(100_000, 0, 0, 0).with("/options/max_concurrent", 1);
            tokio::select! {
                answer = rig.api.ask(&batch, Some("key")) => panic!("too fast: {answer:?}"),
                () = until("entries to be written", async || {
                    let batches = rig.api.batches().await;
                    let states = batches.iter().flat_map(|batch| batch.by_state.values());
                    let written: u32 = states.sum();
                    if written > 0 { Ok(()) } else { Err(format!("{batches:?}")) }
                }) => {}
            }
            rig.dialtone.kill().await;
            rig.dialtone.restart().await;
            assert_eq!(rig.api.batches().await, [], "nobody was told of it, and nobody is");
            // Its key is free, for a batch that is whole and the only one.
            let small = TestBatch::of(5, 0, 0, 0).talk_s(1.0);
            let whole: serde_json::Value = rig.api.ask(&small, Some("key")).await.expect(202);
            let id = whole["batch_id"].as_str().expect("an id");
            let status = rig.api.completed(id, BATCH).await;
            assert_eq!(rig.api.batches().await, [status]);
            let dispatches = rig.dialtone.metric("call_dispatch_duration_seconds_count").await;
            assert!((dispatches - 5.0).abs() < 0.5, "{dispatches} dispatches for 5 calls");
        })
        .await;
}

/// Triggers the default mix and waits until it has this many dials.
async fn in_the_middle(rig: &Rig, dials: u32) -> String {
    let id = rig.api.trigger(&TestBatch::default_mix().seed(11)).await;
    dialled(rig, &id, dials).await;
    id
}

async fn dialled(rig: &Rig, id: &str, dials: u32) {
    let what = format!("{dials} dials");
    rig.api.followed(id, BATCH, &what, |status| status.dials >= dials).await;
}

/// The batch has ended whole: what was lost may have failed, but nothing ended better
/// than planned, and nothing twice.
async fn ends_whole(rig: &Rig, id: &str) -> BatchStatus {
    let status = rig.api.completed(id, BATCH).await;
    assert_eq!(status.completed_calls + status.failed_calls, 149, "{status:?}");
    assert!(status.dials <= 124 && status.attempts <= 149 * 3, "{status:?}");
    for entry in rig.api.entries(id).await {
        let well = entry.state.as_str() == "completed";
        assert!(!well || entry.planned_outcome == Some(PlannedOutcome::Completed), "{entry:?}");
    }
    rig.verify(id).await;
    status
}

#[tokio::test]
async fn a_batch_survives_two_kills_of_the_server() {
    Setup::at(FACTOR)
        .run(async |rig| {
            let id = in_the_middle(rig, 10).await;
            for dials in [10, 70] {
                dialled(rig, &id, dials).await;
                rig.dialtone.kill().await;
                rig.dialtone.restart().await;
            }
            let status = ends_whole(rig, &id).await;
            // The worker tries again until the server is back: its outcomes are not lost.
            assert!(status.completed_calls >= 20, "{status:?}");
        })
        .await;
}

#[tokio::test]
async fn a_batch_survives_the_kill_of_the_worker() {
    Setup::at(FACTOR)
        .run(async |rig| {
            let id = in_the_middle(rig, 30).await;
            rig.worker().kill().await;
            rig.worker().restart().await;
            let status = ends_whole(rig, &id).await;
            // Calls that were dialled are not dialled again; those of the dead worker are
            // lost, the others are made by the new one.
            assert!(status.dials >= 74, "{status:?}");
        })
        .await;
}

#[tokio::test]
async fn a_batch_survives_the_kill_of_livekit() {
    Setup::at(FACTOR)
        .run(async |rig| {
            let id = in_the_middle(rig, 30).await;
            rig.livekit.kill().await;
            rig.livekit.restart().await;
            ends_whole(rig, &id).await;
            // The worker is back by itself, and takes jobs.
            rig.worker().ready().await;
            let after = rig.api.trigger(&TestBatch::of(5, 0, 0, 0).talk_s(1.0)).await;
            let status = rig.api.completed(&after, BATCH).await;
            assert_eq!(status.completed_calls, 5, "{status:?}");
        })
        .await;
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_does_so_and_goes_on_later() {
    Setup::at(FACTOR)
        .run(async |rig| {
            let id = in_the_middle(rig, 30).await;
            let told = Instant::now();
            rig.dialtone.signal(Signal::Term);
            let exit = rig.dialtone.ended().await;
            assert!(exit.success(), "{exit}");
            assert!(told.elapsed() < Duration::from_secs(12), "{:?}", told.elapsed());
            rig.dialtone.restart().await;
            let status = ends_whole(rig, &id).await;
            assert!(status.completed_calls >= 20, "{status:?}");
        })
        .await;
}
