//! Backends that are there, that are not, and that only pretend.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Bad, check, failed};

#[tokio::test]
async fn a_backend_without_a_device_is_skipped_for_all_to_see() {
    let bad = Bad::worker("no_device");
    let ended = bad.run(&["--backend", "cuda"]).await;
    let document = ended.broke_off(4, "no_device");
    assert_eq!(check(&document, "backend")["status"], "skipped");
    assert_eq!(check(&document, "backend")["detail"], "cuda: libcuda.so.1 not found");
    assert!(ended.stderr.contains("SKIP backend"), "{}", ended.stderr);
    for flags in [["--require"].as_slice(), &["--profile", "ci"]] {
        let flags = [&["--backend", "cuda"], flags].concat();
        bad.run(&flags).await.broke_off(1, "check_failed");
    }
}

#[tokio::test]
async fn a_binary_without_the_backend_is_told() {
    let ended = Bad::worker("good").run(&["--backend", "cuda"]).await;
    let document = ended.broke_off(5, "backend_not_built");
    assert_eq!(check(&document, "backend")["status"], "failed");
    assert_eq!(check(&document, "spawn")["status"], "not_run");
}

#[tokio::test]
async fn a_silent_fallback_is_no_pass() {
    let bad = Bad::worker("falls_back");
    let ended = bad.run(&["--backend", "cuda"]).await;
    let document = ended.broke_off(1, "wrong_answer");
    let detail = check(&document, "health")["detail"].as_str().expect("words");
    assert_eq!(detail, "the worker runs on `cpu` where `cuda` was asked for");
    // `auto` chooses the GPU that is said to be there, and is not fooled either.
    let automatic = failed("health", "wrong_answer", 1, "where `cuda` was asked for");
    bad.fails(automatic).await;
}

#[tokio::test]
async fn a_device_that_is_not_there_is_told_with_those_that_are() {
    let ended = Bad::worker("good").run(&["--backend", "cpu", "--device", "7"]).await;
    let document = ended.broke_off(5, "environment");
    let message = document["error"]["message"].as_str().expect("words");
    assert_eq!(message, "cpu has no device 7; there is 0 (feathers)");
}

#[tokio::test]
async fn a_matrix_has_a_case_for_each_backend() {
    let bad = Bad::worker("no_device");
    let ended = bad.run(&["--backend", "all"]).await;
    let document = ended.document(0);
    let of = |name: &str| -> Value {
        let cases = document["cases"].as_array().expect("cases");
        cases.iter().find(|case| case["name"] == name).expect(name).clone()
    };
    let verdicts = ["cpu", "cuda", "metal", "vulkan"].map(|name| of(name)["verdict"].clone());
    assert_eq!(verdicts, ["passed", "skipped", "skipped", "skipped"].map(Value::from));
    let checks = of("cpu")["checks"].as_array().expect("checks").clone();
    assert!(checks.len() == 14 && checks.iter().all(|check| check["status"] == "passed"));
    assert!(of("cpu")["metrics"]["ttft_ms"].as_f64().is_some_and(|ms| ms > 0.0));
    assert_eq!(check(&document, "cuda")["code"], "no_device");
    assert_eq!(check(&document, "metal")["code"], "backend_not_built");
    let junit = bad.harness.dir().join("target/xtask/runs/latest/junit.xml");
    let junit = std::fs::read_to_string(junit).expect("written");
    assert!(junit.contains("worker-test.cpu"), "{junit}");
    bad.run(&["--backend", "all", "--require"]).await.broke_off(1, "check_failed");
}

#[tokio::test]
async fn a_case_that_fails_fails_the_matrix() {
    let ended = Bad::worker("wrong_text").run(&["--backend", "all"]).await;
    let document = ended.broke_off(1, "wrong_answer");
    assert_eq!(document["cases"][0]["verdict"], "failed");
    assert_eq!(check(&document, "cpu")["status"], "failed");
}

/// A machine without any tool, whatever this one has: nothing is built there.
#[tokio::test]
async fn tools_that_are_missing_are_named_before_anything_is_built() {
    let bad = Bad::worker("good");
    let empty: PathBuf = bad.harness.dir().join("empty");
    std::fs::create_dir(&empty).expect("made");
    let args = ["worker:test", "--backend", "metal", "--format", "json"];
    let mut command = bad.harness.command(&args);
    let output = command.env("PATH", &empty).output().await.expect("xtask runs");
    assert_eq!(output.status.code(), Some(5));
    let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!(document["error"]["code"], json!("tool_missing"));
    assert_eq!(document["error"]["message"], json!("metal needs macOS"));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("Building"));
}
