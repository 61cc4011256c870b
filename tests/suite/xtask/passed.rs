//! Runs that pass.

use dialtone_tests::Harness;
use serde_json::json;

use super::{SMALL, with};

#[tokio::test]
async fn a_small_batch_passes_and_leaves_its_files_only() {
    let harness = Harness::new();
    let ended = harness.run(&with(&SMALL, &["--seed", "7", "--format", "json"])).await;
    let document = ended.document(0);
    assert_eq!((&document["command"], &document["seed"]), (&json!("batch:test"), &json!(7)));
    let statuses = document["checks"].as_array().expect("checks");
    assert!(statuses.iter().all(|check| check["status"] == "passed"), "{document:#}");
    let invariants = document["invariants"].as_array().expect("invariants");
    assert!(invariants.len() >= 10 && invariants.iter().all(|i| i["holds"] == true));
    let metrics = &document["metrics"];
    for (name, value) in [
        ("entries", 10),
        ("completed", 10),
        ("failed", 0),
        ("stuck", 0),
        ("dropped", 0),
        ("entries_completed", 10),
        ("entries_failed", 0),
        ("attempts", 10),
        ("dials", 10),
        ("callbacks", 10),
        ("false_expiries", 0),
    ] {
        assert_eq!(metrics[name], json!(value), "{name}");
    }
    for name in ["loop_lag_max_ms", "dispatch_p50_ms", "dispatch_p95_ms"] {
        assert!(metrics[name].as_f64().is_some_and(f64::is_finite), "{name}: {metrics}");
    }
    let run = document["run_id"].as_str().expect("a run id");
    assert_eq!(harness.runs(), [run]);
    let folder = harness.dir().join("target/xtask/runs/latest");
    let kept = std::fs::read_to_string(folder.join("result.json")).expect("a result");
    let kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
    assert_eq!(kept["run_id"], document["run_id"]);
    for name in ["junit.xml", "events.jsonl", "dialtone.log", "livekit-dev.log", "test-worker.log"]
    {
        assert!(folder.join(name).is_file(), "no {name}");
    }
    harness.clean().await;
}

/// The promise to a newcomer: the default mix on the fastest timeline.
#[tokio::test]
async fn the_default_mix_passes_at_full_speed() {
    let harness = Harness::new();
    // Alone on the machine: guards are at their floor of 1.5 s.
    let running = harness.start_with(3, &["--format", "json", "--seed", "42"]).await;
    let document = running.ended().await.document(0);
    let metrics = &document["metrics"];
    for (name, value) in [
        ("completed", 24),
        ("failed", 100),
        ("stuck", 15),
        ("dropped", 10),
        ("entries_completed", 24),
        ("entries_failed", 125),
        ("attempts", 199),
        ("dials", 124),
        ("callbacks", 124),
    ] {
        assert_eq!(metrics[name], json!(value), "{name}");
    }
    assert!(document["simulated_s"].as_f64() > Some(60.0), "{document:#}");
    harness.clean().await;
}

#[tokio::test]
async fn two_at_once_do_not_meet() {
    let harness = Harness::new();
    let flags = with(&SMALL, &["--format", "json"]);
    let (one, two) = tokio::join!(harness.run(&flags), harness.run(&flags));
    let (one, two) = (one.document(0), two.document(0));
    assert_ne!(one["run_id"], two["run_id"]);
    assert_eq!(harness.runs().len(), 2);
    harness.clean().await;
}

#[tokio::test]
async fn json_lines_end_with_the_document() {
    let harness = Harness::new();
    let ended = harness.run(&with(&SMALL, &["--format", "jsonl"])).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines: Vec<serde_json::Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (last, events) = lines.split_last().expect("lines");
    assert_eq!(last["exit_code"], 0);
    assert!(events.iter().all(|event| event["event"].is_string()));
    assert_eq!(events[0]["event"], "run_started");
}

/// Minutes of real time, nothing scaled: run by hand before a release.
#[tokio::test]
#[ignore = "real time, minutes"]
async fn the_stuck_calls_of_a_batch_are_found_in_real_time() {
    let harness = Harness::new();
    let flags = ["--total", "4", "--fail-count", "1", "--stuck-count", "1"];
    let running = harness.start(&with(&flags, &["--time-scale", "1", "--format", "json"])).await;
    let ended = running.ended_within(std::time::Duration::from_secs(400)).await;
    let document = ended.document(0);
    assert_eq!(document["metrics"]["attempts"], 6);
    harness.clean().await;
}
