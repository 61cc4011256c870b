//! Runs that are ended from outside, and ports that are taken.

use std::net::TcpListener;
use std::time::Duration;

use dialtone_child::Signal;
use dialtone_tests::wait::soon;
use serde_json::json;
use tokio::time::Instant;

use super::{Bad, check_status};

#[tokio::test]
async fn an_interrupt_leaves_nothing_whenever_it_comes() {
    // While it loads, while it is asked, while its hive is away.
    for (mode, event, signal, code) in [
        ("hangs", json!({ "event": "service_started" }), Signal::Int, 130),
        ("never_answers", json!({ "name": "health" }), Signal::Term, 143),
        ("gives_up", json!({ "name": "heartbeats" }), Signal::Int, 130),
    ] {
        let bad = Bad::worker(mode);
        let running = bad.harness.start_command(&bad.args(&[])).await;
        let (key, value) = event.as_object().and_then(|one| one.iter().next()).expect("a pair");
        running.event(&format!("{key} {value}"), |event| event[key] == *value).await;
        let at = Instant::now();
        running.signal(signal);
        let ended = running.ended().await;
        assert!(at.elapsed() < Duration::from_secs(6), "{mode}: {:?}", at.elapsed());
        let document = ended.broke_off(code, "interrupted");
        assert_eq!(check_status(&document, "shutdown"), "not_run", "{mode}");
        assert_eq!(check_status(&document, "teardown"), "passed", "{mode}");
        let failed = document["checks"].as_array().expect("checks");
        let failed = failed.iter().filter(|check| check["status"] == "failed").count();
        assert_eq!(failed, 0, "what was cut short has not failed: {document:#}");
        bad.harness.clean().await;
    }
}

#[tokio::test]
async fn a_killed_harness_leaves_no_worker() {
    let bad = Bad::worker("hangs");
    let running = bad.harness.start_command(&bad.args(&[])).await;
    running.event("the start", |event| event["event"] == "service_started").await;
    running.signal(Signal::Kill);
    assert_eq!(running.ended().await.code, None);
    bad.harness.clean().await;
}

#[tokio::test]
async fn a_deadline_ends_the_run() {
    let ended = Bad::worker("hangs").run(&["--deadline", "1"]).await;
    ended.broke_off(124, "run_deadline");
}

#[tokio::test]
async fn a_port_that_is_taken_names_its_holder() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = holder.local_addr().expect("an address").port().to_string();
    for (flag, check) in [("--port", "spawn"), ("--hive-port", "hive")] {
        let ended = Bad::worker("good").run(&[flag, &port]).await;
        let document = ended.broke_off(5, "port_taken");
        let message = document["error"]["message"].as_str().expect("words");
        assert!(message.contains(&format!("127.0.0.1:{port}")), "{message}");
        assert!(message.contains(&format!("pid {}", std::process::id())), "{message}");
        assert_eq!(check_status(&document, check), "failed", "{flag}");
    }
}

#[tokio::test]
async fn a_folder_without_a_worker_is_named() {
    let bad = Bad::worker("good");
    std::fs::remove_file(bad.folder.join("llm-worker")).expect("removed");
    let ended = bad.run(&[]).await;
    let document = ended.broke_off(5, "environment");
    let message = document["error"]["message"].as_str().expect("words");
    assert!(message.ends_with("has no llm-worker"), "{message}");
}

#[tokio::test]
async fn a_command_line_that_is_wrong_is_a_usage_error() {
    let bad = Bad::worker("good");
    for flags in [
        ["--backend", "abacus"].as_slice(),
        &["--device", "first"],
        &["--port", "-1"],
        &["--heartbeat-interval", "never"],
        &["surprise"],
    ] {
        let mut command = bad.harness.command(&[&["worker:test"], flags].concat());
        let output = soon("xtask", command.output()).await.expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
    }
    assert!(bad.harness.runs().is_empty(), "a run was begun");
}
