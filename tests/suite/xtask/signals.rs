//! Signals to the harness, at several moments: the exit code says so, and nothing is left.

use std::time::Duration;

use dialtone_child::Signal;
use dialtone_tests::{Harness, Running};
use tokio::time::Instant;

use super::{LONG, SMALL, with};

const JSON: [&str; 2] = ["--format", "json"];

/// Moments of a run, early to late.
async fn moment(running: &Running, n: usize) {
    match n {
        0 => drop(running.process("supervise").await),
        1 => drop(running.process("test-worker").await),
        2 => drop(running.event("the trigger", |event| event["name"] == "trigger").await),
        3 => running.dialled(1).await,
        _ => running.dialled(60).await,
    }
}

#[tokio::test]
async fn an_interrupt_ends_the_run_in_order_with_a_partial_result() {
    for (signal, code, n) in [
        (Signal::Int, 130, 4),
        (Signal::Term, 143, 3),
        (Signal::Hup, 143, 1),
        (Signal::Int, 130, 0),
    ] {
        let harness = Harness::new();
        let running = harness.start(&with(&LONG, &JSON)).await;
        moment(&running, n).await;
        let at = Instant::now();
        running.signal(signal);
        let ended = running.ended().await;
        assert!(at.elapsed() < Duration::from_secs(12), "{signal}: {:?}", at.elapsed());
        let document = ended.broke_off(code, "interrupted");
        let checks = document["checks"].as_array().expect("checks");
        let status = |name: &str| checks.iter().find(|c| c["name"] == name).map(|c| &c["status"]);
        assert_eq!(status("counts"), Some(&"not_run".into()), "{document:#}");
        if n >= 3 {
            assert_eq!(status("trigger"), Some(&"passed".into()), "{document:#}");
        }
        let kept = harness.dir().join("target/xtask/runs/latest/result.json");
        assert!(kept.is_file(), "no partial result");
        harness.clean().await;
    }
}

#[tokio::test]
async fn a_second_interrupt_ends_the_run_at_once() {
    let harness = Harness::new();
    let running = harness.start(&with(&LONG, &JSON)).await;
    moment(&running, 4).await;
    // A server that is frozen would keep an orderly end waiting for its grace.
    assert!(running.process("dialtone").await.signal(Signal::Stop));
    running.signal(Signal::Int);
    running.event("the first interrupt", |event| event["event"] == "interrupting").await;
    let at = Instant::now();
    running.signal(Signal::Int);
    let ended = running.ended().await;
    assert!(at.elapsed() < Duration::from_secs(4), "{:?}", at.elapsed());
    ended.broke_off(130, "interrupted");
    harness.clean().await;
}

#[tokio::test]
async fn a_killed_harness_leaves_nothing_behind() {
    for n in 0..5 {
        let harness = Harness::new();
        let running = harness.start(&LONG).await;
        moment(&running, n).await;
        running.signal(Signal::Kill);
        assert_eq!(running.ended().await.code, None);
        harness.clean().await;
        // The next run finds nothing in its way.
        if n == 4 {
            let ended = harness.run(&with(&SMALL, &JSON)).await;
            ended.document(0);
            harness.clean().await;
        }
    }
}
