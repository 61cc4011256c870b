//! Workers that misbehave: each is told by its own check, code and words.

use std::time::Duration;

use tokio::time::Instant;

use super::{Bad, Expected, check_status, failed};

/// Tries one after the other.
async fn all(cases: &[(&'static str, Expected)]) {
    for (mode, expected) in cases {
        let Expected { check, code, exit, says, teardown } = *expected;
        Bad::worker(mode).fails(Expected { check, code, exit, says, teardown }).await;
    }
}

#[tokio::test]
async fn one_that_exits_is_told_at_once_with_its_last_words() {
    for (mode, words) in
        [("exits", "the moon is full"), ("exits_loading", "out of memory: need 9.4 GiB")]
    {
        let began = Instant::now();
        let expected = failed("ready", "child_exited", 3, "ended with exit code");
        let (document, talk) = Bad::worker(mode).fails(expected).await;
        assert!(began.elapsed() < Duration::from_secs(3), "it waited out the timeout");
        assert!(talk.contains(words), "{talk}");
        assert_eq!(check_status(&document, "inference"), "not_run");
    }
    all(&[("dies_asked", failed("inference", "child_exited", 3, "ended with exit code 9"))]).await;
}

#[tokio::test]
async fn one_that_is_never_ready_is_told_with_how_far_it_came() {
    let hangs =
        failed("ready", "ready_timeout", 3, "not ready within 4.0 s; it was loading at 40 %");
    let deaf = failed("ready", "ready_timeout", 3, "llm-worker not ready within 4.0 s");
    let (hanging, mute) = (Bad::worker("hangs"), Bad::worker("deaf"));
    tokio::join!(hanging.fails(hangs), mute.fails(deaf));
}

#[tokio::test]
async fn a_stranger_on_the_port_is_no_worker() {
    all(&[("stranger", failed("ready", "not_ready", 3, "another process's nonce"))]).await;
}

#[tokio::test]
async fn wrong_answers_are_told() {
    all(&[
        ("status_500", failed("inference", "wrong_answer", 1, "answered 500")),
        ("bad_json", failed("inference", "wrong_answer", 1, "cannot be read: EOF")),
        ("wrong_text", failed("inference", "wrong_answer", 1, "\"We are closed.\"")),
        ("moody", failed("inference", "wrong_answer", 1, "in two ways at temperature 0")),
        ("says_nothing", failed("inference", "wrong_answer", 1, "it has no text")),
        ("one_answer", failed("parallel", "wrong_answer", 1, "one and the same answer")),
        ("one_at_a_time", failed("parallel", "wrong_answer", 1, "never ran at the same time")),
        ("mixed_up", failed("parallel", "wrong_answer", 1, "got the answer of question 2")),
    ])
    .await;
}

#[tokio::test]
async fn no_answer_at_all_ends_the_run() {
    let silent = failed("inference", "target_lost", 3, "within 4.0 s");
    let (document, _) = Bad::worker("never_answers").fails(silent).await;
    assert_eq!(check_status(&document, "shutdown"), "not_run");
}

#[tokio::test]
async fn broken_streams_are_told() {
    all(&[
        ("half_stream", failed("stream", "stream_broken", 1, "the stream broke off")),
        ("no_done", failed("stream", "stream_broken", 1, "without [DONE]")),
        ("another_stream", failed("stream", "wrong_answer", 1, "something else than the whole")),
    ])
    .await;
}

#[tokio::test]
async fn a_slot_that_is_never_free_again_is_told() {
    let kept = failed("cancel", "slot_leaked", 1, "4 of 4 slots are busy");
    let (document, talk) = Bad::worker("keeps_slots").fails(kept).await;
    assert_eq!(check_status(&document, "inference"), "passed");
    assert_eq!(check_status(&document, "hive_restart"), "passed");
    assert!(talk.contains("slot 3: decode, chatcmpl-"), "{talk}");
}

/// Its slots are free soon, but not because anybody left.
#[tokio::test]
async fn an_answer_that_goes_on_without_its_client_is_told() {
    all(&[
        ("finishes_anyway", failed("cancel", "slot_leaked", 1, "generated to their end")),
        ("counts_no_tokens", failed("cancel", "wrong_answer", 1, "stood still")),
        ("tells_no_tokens", failed("cancel", "wrong_answer", 1, "does not count")),
    ])
    .await;
}

#[tokio::test]
async fn one_that_freezes_is_told_as_lost() {
    all(&[("freezes", failed("heartbeats", "target_lost", 3, "answers no more"))]).await;
}

#[tokio::test]
async fn no_heartbeat_and_those_of_others_are_told() {
    all(&[
        ("no_beats", failed("heartbeats", "no_heartbeat", 1, "no heartbeat came")),
        ("one_beat", failed("heartbeats", "no_heartbeat", 1, "the last beat is")),
        ("beats_garbage", failed("heartbeats", "no_heartbeat", 1, "missing field `timestamp`")),
        ("beats_for_another", failed("heartbeats", "no_heartbeat", 1, "worker-of-somebody-else")),
    ])
    .await;
}

#[tokio::test]
async fn heartbeats_that_are_not_right_are_told() {
    all(&[
        ("beats_of_another", failed("heartbeats", "no_heartbeat", 1, "shows another nonce")),
        ("skips_seq", failed("heartbeats", "no_heartbeat", 1, "seq 2 where 1 must come")),
        ("gives_up", failed("hive_restart", "no_heartbeat", 1, "after the hive was back")),
        ("sends_again", failed("hive_restart", "no_heartbeat", 1, "was sent again")),
        ("floods_hive", failed("hive_restart", "no_heartbeat", 1, "those that were lost came too")),
        ("no_goodbye", failed("shutdown", "no_heartbeat", 1, "`healthy`, not `stopped`")),
    ])
    .await;
}

#[tokio::test]
async fn an_end_that_is_none_is_told() {
    all(&[
        ("ignores_term", failed("shutdown", "check_failed", 1, "ignored SIGTERM for 3 s")),
        ("ends_badly", failed("shutdown", "check_failed", 1, "ended with exit code 1")),
        ("cuts_off", failed("shutdown", "stream_broken", 1, "without finish_reason")),
        ("has_children", failed("shutdown", "leaked", 6, "sleep (pid ")),
    ])
    .await;
}

/// Noise is no fault, but it must fill neither the disk nor the memory.
#[tokio::test]
async fn a_flood_of_log_lines_is_kept_small() {
    let bad = Bad::worker("floods");
    bad.run(&[]).await.document(0);
    let folder = bad.harness.dir().join("target/xtask/runs/latest");
    let logs = std::fs::read_dir(folder).expect("a run folder").flatten();
    let bytes: u64 = logs
        .filter(|file| file.file_name().to_string_lossy().contains(".log"))
        .map(|file| file.metadata().map_or(0, |metadata| metadata.len()))
        .sum();
    assert!((1_000_000..33 * 1024 * 1024).contains(&bytes), "{bytes} bytes of log");
}
