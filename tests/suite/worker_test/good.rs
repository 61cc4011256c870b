//! Workers that behave pass.

use dialtone_tests::{Harness, bins};
use serde_json::Value;

use super::{Bad, COMMON, check};

/// The figures that every run has, under their fixed names.
const FIGURES: [&str; 5] = ["ready_ms", "ttft_ms", "tokens_per_s", "peak_rss_bytes", "heartbeats"];

fn passed(document: &Value) {
    let checks = document["checks"].as_array().expect("checks");
    assert_eq!(checks.len(), 14);
    assert!(checks.iter().all(|check| check["status"] == "passed"), "{document:#}");
    for name in FIGURES {
        let figure = document["metrics"][name].as_f64();
        assert!(figure.is_some_and(|figure| figure > 0.0), "{name}: {document:#}");
    }
}

/// What shows that the others fail for what they do, not for what they are.
#[tokio::test]
async fn the_worker_that_can_misbehave_passes_when_it_does_not() {
    let bad = Bad::worker("good");
    let document = bad.run(&[]).await.document(0);
    passed(&document);
    let folder = bad.harness.dir().join("target/xtask/runs/latest");
    let events = std::fs::read_to_string(folder.join("events.jsonl")).expect("written");
    let beats = events.lines().filter(|line| line.contains(r#""event":"beat""#)).count();
    assert_eq!(Some(beats as f64), document["metrics"]["heartbeats"].as_f64());
    assert!(events.contains(r#""status":"stopped""#), "{events}");
}

#[tokio::test]
async fn two_at_once_do_not_meet() {
    let (one, two) = (Bad::worker("good"), Bad::worker("good"));
    let (first, second) = tokio::join!(one.run(&[]), two.run(&[]));
    let (first, second) = (first.document(0), second.document(0));
    assert_ne!(first["run_id"], second["run_id"]);
}

#[tokio::test]
async fn the_real_worker_passes_on_its_built_in_model() {
    let harness = Harness::new();
    let folder = bins().to_str().expect("text");
    let args = [&["worker:test", "--bin-dir", folder, "-v"], COMMON.as_slice()].concat();
    let ended = harness.run_command(&args).await;
    let document = ended.document(0);
    passed(&document);
    let said = check(&document, "inference")["detail"].as_str().expect("words");
    assert!(said.contains("We are open Monday to Friday from eight to six."), "{said}");
    harness.clean().await;
}
