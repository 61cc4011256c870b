//! Runs whose stack breaks: told at once, by name, with the exit code of its kind.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dialtone_child::Signal;
use dialtone_tests::{Harness, bins};
use tokio::time::Instant;

use super::{LONG, SMALL, with};

const JSON: [&str; 2] = ["--format", "json"];

/// A folder with the built binaries, one of them replaced by a script.
fn replaced(dir: &Path, name: &str, script: &str) -> PathBuf {
    let folder = dir.join("bins");
    std::fs::create_dir(&folder).expect("made");
    for binary in ["xtask", "dialtone", "livekit-dev", "supervise", "test-worker"] {
        if binary != name {
            symlink(bins().join(binary), folder.join(binary)).expect("linked");
        }
    }
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
    folder
}

/// Kills one service in the middle of a batch.
async fn killed(service: &str) {
    let harness = Harness::new();
    let running = harness.start(&with(&LONG, &JSON)).await;
    running.dialled(10).await;
    let at = Instant::now();
    assert!(running.process(service).await.signal(Signal::Kill));
    // Told at once, not when some deadline has passed or when all the others have stopped.
    running.event("the failure", |event| event["event"] == "failure").await;
    assert!(at.elapsed() < Duration::from_secs(2), "{:?}", at.elapsed());
    let ended = running.ended().await;
    let document = ended.broke_off(3, "child_exited");
    let message = document["error"]["message"].as_str().expect("a message");
    assert!(message.contains(service) && message.contains("SIGKILL"), "{message}");
    assert!(ended.stderr.contains(&format!("\u{2502} {service} ")), "{}", ended.stderr);
    harness.clean().await;
}

#[tokio::test]
async fn a_killed_worker_ends_the_run() {
    killed("test-worker").await;
}

#[tokio::test]
async fn a_killed_server_ends_the_run() {
    killed("dialtone").await;
}

#[tokio::test]
async fn a_killed_livekit_ends_the_run() {
    killed("livekit-dev").await;
}

#[tokio::test]
async fn a_frozen_worker_is_told_from_a_slow_one() {
    let harness = Harness::new();
    let running = harness.start(&with(&LONG, &JSON)).await;
    running.dialled(10).await;
    assert!(running.process("test-worker").await.signal(Signal::Stop));
    let ended = running.ended().await;
    ended.broke_off(3, "worker_silent");
    assert!(ended.stderr.contains("test-worker"), "{}", ended.stderr);
    harness.clean().await;
}

#[tokio::test]
async fn a_worker_of_another_name_is_missed_by_its_own() {
    let harness = Harness::new();
    let real = bins().join("test-worker");
    let script = format!("exec '{}' --agent-name other-worker \"$@\"", real.display());
    let folder = replaced(harness.dir(), "test-worker", &script);
    let harness = harness.bin_dir(folder);
    let ended = harness.run(&with(&SMALL, &with(&JSON, &["--timeout", "10"]))).await;
    let document = ended.broke_off(3, "no_worker");
    let message = document["error"]["message"].as_str().expect("a message");
    assert!(message.contains("batch-test-worker"), "{message}");
    assert!(ended.stderr.contains("other-worker"), "{}", ended.stderr);
    harness.clean().await;
}

#[tokio::test]
async fn a_service_that_dies_at_its_start_is_told_at_once_with_its_last_words() {
    let harness = Harness::new();
    let script = "echo 'the moon is full' >&2; exit 7";
    let harness = {
        let folder = replaced(harness.dir(), "dialtone", script);
        harness.bin_dir(folder)
    };
    let at = Instant::now();
    let ended = harness.run(&with(&SMALL, &JSON)).await;
    assert!(at.elapsed() < Duration::from_secs(5), "{:?}", at.elapsed());
    let document = ended.broke_off(3, "child_exited");
    let message = document["error"]["message"].as_str().expect("a message");
    assert!(message.contains("dialtone") && message.contains("exit code 7"), "{message}");
    assert!(ended.stderr.contains("the moon is full"), "{}", ended.stderr);
    harness.clean().await;
}

#[tokio::test]
async fn a_service_that_is_never_ready_is_named() {
    let harness = Harness::new();
    let folder = replaced(harness.dir(), "dialtone", "exec sleep 600");
    let harness = harness.bin_dir(folder);
    let ended = harness.run(&with(&SMALL, &with(&JSON, &["--timeout", "2"]))).await;
    let document = ended.broke_off(3, "ready_timeout");
    let message = document["error"]["message"].as_str().expect("a message");
    assert!(message.contains("dialtone"), "{message}");
    harness.clean().await;
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_cut_off() {
    let harness = Harness::new();
    let ended = harness.run(&with(&LONG, &with(&JSON, &["--deadline", "2"]))).await;
    let document = ended.broke_off(124, "run_deadline");
    let checks = document["checks"].as_array().expect("checks");
    assert!(checks.iter().any(|check| check["status"] == "not_run"), "{document:#}");
    harness.clean().await;
}
