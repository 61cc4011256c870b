//! Models that are not there, or are none.

use std::time::Duration;

use dialtone_tests::{Ended, Harness, bins};
use tokio::time::Instant;

use super::{Bad, failed};

/// The real worker.
async fn real(harness: &Harness, model: &str) -> Ended {
    let folder = bins().to_str().expect("text");
    let args = ["worker:test", "--bin-dir", folder, "--format", "json", "--model", model];
    let ended = harness.run_command(&args).await;
    harness.clean().await;
    ended
}

#[tokio::test]
async fn a_model_that_is_not_there_is_told_with_those_near_it() {
    let harness = Harness::new();
    std::fs::write(harness.dir().join("tiny-q8.gguf"), b"GGUF").expect("written");
    let ended = real(&harness, "tiny-q9.gguf").await;
    ended.broke_off(5, "model_not_found");
    assert!(ended.stderr.contains("near: tiny-q8.gguf"), "{}", ended.stderr);
    let ended = real(&harness, "smollm2").await;
    let document = ended.broke_off(5, "model_not_found");
    assert_eq!(document["error"]["hint"], "cargo xtask model:fetch smollm2");
    let ended = real(&harness, ".").await;
    ended.broke_off(5, "model_invalid");
    assert!(ended.stderr.contains("it has tiny-q8.gguf"), "{}", ended.stderr);
    assert!(harness.runs().is_empty(), "nothing was started");
}

#[tokio::test]
async fn a_file_that_is_no_model_is_told_in_under_a_second() {
    let harness = Harness::new();
    // The head of version 3 with more tensors than there are bytes on earth.
    let absurd = [b"GGUF\x03\0\0\0".as_slice(), &[0xff; 16]].concat();
    for (name, bytes) in [
        ("empty.gguf", Vec::new()),
        ("junk.gguf", b"this is no model at all, whatever its name says".to_vec()),
        ("truncated.gguf", b"GGUF\x03\0\0\0\x02\0".to_vec()),
        ("absurd.gguf", absurd),
    ] {
        let path = harness.dir().join(name);
        std::fs::write(&path, bytes).expect("written");
        let began = Instant::now();
        let ended = real(&harness, path.to_str().expect("text")).await;
        let took = began.elapsed();
        let document = ended.document(5);
        let code = document["error"]["code"].as_str().expect("a code");
        assert!(code.starts_with("model_"), "{name}: {code}");
        let check = super::check(&document, "model");
        assert_eq!(check["status"], "failed", "{name}");
        // The check itself; a busy machine adds to the whole.
        assert!(check["duration_ms"].as_f64() < Some(1000.0), "{name}: {check}");
        assert!(took < Duration::from_secs(10), "{name}: {took:?}");
    }
}

#[tokio::test]
async fn what_the_worker_says_of_a_model_is_told() {
    let junk = failed("model", "model_invalid", 5, "its first bytes are not `GGUF`");
    let mute = failed("model", "model_invalid", 5, "`llm-worker inspect` failed");
    for (mode, expected) in [("junk_model", junk), ("mute_inspect", mute)] {
        let expected = super::Expected { teardown: "not_run", ..expected };
        Bad::worker(mode).fails(expected).await;
    }
}
