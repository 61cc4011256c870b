//! Kills and cancels in the middle of a batch: it ends all the same, and the harness says what
//! that cost and how long it took.

use dialtone_child::Signal;
use dialtone_tests::Harness;
use serde_json::{Value, json};

use super::{SMALL, with};

/// A batch that is at work for a few seconds: eight calls at once, each some tenths of a second.
const BUSY: [&str; 14] = [
    "--total",
    "48",
    "--fail-count",
    "16",
    "--stuck-count",
    "0",
    "--dropped-count",
    "0",
    "--max-concurrent",
    "8",
    "--time-scale",
    "40",
    "--format",
    "json",
];

/// The document of a drill that passed.
async fn passed(flags: &[&str]) -> Value {
    let harness = Harness::new();
    let ended = harness.run(&with(&BUSY, flags)).await;
    let document = ended.document(0);
    let checks = document["checks"].as_array().expect("checks");
    assert!(checks.iter().all(|check| check["status"] == "passed"), "{document:#}");
    assert!(checks.iter().any(|check| check["name"] == "agreement"), "{document:#}");
    assert_eq!(document["metrics"]["entries"], json!(48));
    harness.clean().await;
    document
}

fn metric(document: &Value, name: &str) -> f64 {
    let value = document["metrics"][name].as_f64();
    value.unwrap_or_else(|| panic!("no {name}: {:#}", document["metrics"]))
}

/// Kills services in the middle of a batch; gives the document.
async fn killed(kills: &[&str]) -> Value {
    let flags: Vec<&str> = kills.iter().flat_map(|kill| ["--kill", kill]).collect();
    let document = passed(&flags).await;
    let [all, lost] = ["kills", "lost_calls"].map(|name| metric(&document, name));
    assert!((all - f64::from(u32::try_from(kills.len()).expect("few"))).abs() < 0.5, "{all}");
    assert!(lost <= all * 8.0, "{lost} calls were lost, 8 were live at once");
    let recovery = metric(&document, "recovery_ms");
    assert!(recovery > 0.0 && recovery < 15_000.0, "{recovery} ms");
    assert!(metric(&document, "recovery_simulated_ms") > recovery);
    document
}

#[tokio::test]
async fn a_killed_server_comes_back_and_hears_of_every_call() {
    let document = killed(&["server@40%"]).await;
    // Also of those that it had heard of before.
    let heard = metric(&document, "callbacks") + metric(&document, "lost_calls");
    assert!((heard - 48.0).abs() < 0.5, "{document:#}");
}

#[tokio::test]
async fn a_killed_worker_comes_back_and_its_calls_are_final() {
    let document = killed(&["worker@40%"]).await;
    assert!(metric(&document, "lost_calls") >= 1.0, "its live calls cannot have gone on");
}

#[tokio::test]
async fn a_killed_livekit_comes_back_empty_and_the_worker_registers_again() {
    killed(&["livekit@40%"]).await;
}

#[tokio::test]
async fn the_server_can_be_killed_twice_and_the_worker_beside_it() {
    killed(&["server@25%", "dialtone@60%", "test-worker@40%"]).await;
}

#[tokio::test]
async fn a_kill_that_meets_no_batch_at_work_fails_the_run() {
    let harness = Harness::new();
    // All ten calls are under way at once: none is left for the server that comes back.
    let flags = with(&SMALL, &["--kill", "server@90%", "--format", "json"]);
    let document = harness.run(&flags).await.broke_off(1, "not_busy");
    let failed = document["checks"].as_array().expect("checks").iter();
    let failed: Vec<_> = failed.filter(|check| check["status"] == "failed").collect();
    assert!(failed.len() == 1 && failed[0]["name"] == "recovery", "{document:#}");
    harness.clean().await;
}

#[tokio::test]
async fn a_death_that_was_not_asked_for_ends_a_drill_too() {
    let harness = Harness::new();
    let running = harness.start(&with(&BUSY, &["--kill", "server@95%"])).await;
    running.dialled(4).await;
    assert!(running.process("test-worker").await.signal(Signal::Kill));
    let document = running.ended().await.broke_off(3, "child_exited");
    let message = document["error"]["message"].as_str().expect("a message");
    assert!(message.contains("test-worker"), "{message}");
    harness.clean().await;
}

/// Cancels a batch in its middle; gives the document.
async fn cancelled(flags: &[&str]) -> Value {
    let document = passed(&with(&["--cancel-at", "40%"], flags)).await;
    let cancelled = metric(&document, "entries_cancelled");
    let sum =
        cancelled + metric(&document, "entries_completed") + metric(&document, "entries_failed");
    assert!((sum - 48.0).abs() < 0.5 && cancelled >= 8.0, "{document:#}");
    document
}

#[tokio::test]
async fn a_cancel_that_hangs_up_ends_at_once() {
    let document = cancelled(&[]).await;
    assert!(metric(&document, "cancel_ms") < 5_000.0, "{document:#}");
}

#[tokio::test]
async fn a_cancel_that_drains_cuts_no_live_call() {
    cancelled(&["--cancel-mode", "drain"]).await;
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_cancels_goes_on_with_it() {
    let kill = ["--cancel-mode", "drain", "--kill", "server@50%"];
    let document = cancelled(&kill).await;
    assert_eq!(document["metrics"]["kills"], json!(1));
}

#[tokio::test]
async fn waves_end_as_planned_and_never_overlap() {
    let harness = Harness::new();
    let flags = ["--total", "45", "--fail-count", "20", "--stuck-count", "2", "--waves"];
    let fast = ["--time-scale", "120", "--format", "json"];
    let document = harness.run(&with(&flags, &fast)).await.document(0);
    assert_eq!(document["metrics"]["completed"], json!(23));
    let events = harness.dir().join("target/xtask/runs/latest/events.jsonl");
    let events = std::fs::read_to_string(events).expect("events");
    let events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let in_flight = events.filter_map(|event| event["in_flight"].as_u64()).max();
    assert!(in_flight.is_some_and(|most| (1..=15).contains(&most)), "{in_flight:?}");
    harness.clean().await;
}
