use serde_json::Value;

use crate::support::{Worker, json, run, text};

#[test]
fn what_is_wrong_is_named() {
    for (args, word) in [
        (&["--backend", "gpu"][..], "not one of auto, cpu"),
        (&["--threads", "0"], "1 to 1024"),
        (&["--slots", "0"], "--slots"),
        (&["--heartbeat-interval", "1ms"], "50ms to 3600s"),
        (&["--hive-url", "https://hive"], "not an http:// URL"),
        (&["--worker-id", "a b"], "letters, digits"),
        (&["--model-id", ""], "letters, digits"),
        (&["--temperature", "9"], "temperature"),
        (&["inspect", "--port", "1"], "--port"),
    ] {
        let done = run(args);
        assert_eq!(done.code, Some(2), "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains(word), "{args:?}: {}", done.stderr);
    }
}

#[test]
fn what_is_not_there_is_never_replaced() {
    let done = run(&["--backend", "cuda"]);
    assert_eq!(done.code, Some(5), "{}", done.stderr);
    assert!(done.stderr.contains("error[backend_not_built]"), "{}", done.stderr);
    let done = run(&["--device", "7"]);
    assert_eq!(done.code, Some(4), "{}", done.stderr);
    assert!(done.stderr.contains("error[no_device]"), "{}", done.stderr);
    let other = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
    let done = run(&["--port", "0", "--isa", other]);
    assert_eq!(done.code, Some(5), "{}", done.stderr);
    assert!(done.stderr.contains("error[environment]"), "{}", done.stderr);
}

#[test]
fn a_key_is_read_from_a_small_file_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let large = dir.path().join("large");
    std::fs::write(&large, "k".repeat(5000)).expect("written");
    for (path, why) in [("/dev/zero", "not a file"), (text(&large), "more than 4096 bytes")] {
        let done = run(&["--port", "0", "--api-key-file", path]);
        assert!(done.code.is_some_and(|code| code != 0), "{}", done.stderr);
        assert!(done.stderr.contains(path) && done.stderr.contains(why), "{}", done.stderr);
    }
}

#[test]
fn backends_are_listed() {
    let done = run(&["backends", "--json"]);
    assert_eq!(done.code, Some(0));
    let rows = json(&done.stdout);
    let names: Vec<_> = rows.as_array().expect("rows").iter().map(|row| &row["backend"]).collect();
    assert_eq!(names, ["cpu", "cuda", "metal", "vulkan"]);
    assert_eq!((&rows[0]["built"], &rows[0]["reason"]), (&true.into(), &Value::Null));
    assert_eq!(rows[0]["devices"][0]["index"], 0);
    assert!(rows[1]["reason"].as_str().is_some_and(|why| why.contains("llama-cpp")));
    let done = run(&["backends"]);
    assert!(done.stdout.starts_with("cpu      0 "), "{}", done.stdout);
}

#[test]
fn the_built_in_model_is_described() {
    let done = run(&["inspect", "--json", "--sha256"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let told = json(&done.stdout);
    assert!(told["bytes"].as_u64().is_some_and(|bytes| bytes > 100_000));
    assert_eq!(told["architecture"], "llama");
    assert_eq!(told["sha256"].as_str().map(str::len), Some(64));
    let done = run(&["inspect"]);
    assert!(done.stdout.contains("architecture  llama\n"), "{}", done.stdout);
    assert!(!done.stdout.contains("sha256"), "{}", done.stdout);
}

#[test]
fn others_reach_it_with_a_key_only() {
    let done = run(&["--bind", "0.0.0.0", "--port", "0"]);
    assert_eq!(done.code, Some(5), "{}", done.stderr);
    assert!(done.stderr.contains("--api-key-file"), "{}", done.stderr);
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("key");
    std::fs::write(&path, "short").expect("written");
    let done = run(&["--port", "0", "--api-key-file", text(&path)]);
    assert_eq!(done.code, Some(5), "{}", done.stderr);
    assert!(done.stderr.contains("fewer than 16"), "{}", done.stderr);
}

#[tokio::test]
async fn a_key_guards_what_is_not_a_probe() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("key");
    std::fs::write(&path, "a-key-of-some-length\n").expect("written");
    let worker = Worker::ready(&["--api-key-file", text(&path)]).await;
    assert_eq!(worker.get("/v1/models").await.status, 401);
    assert_eq!(worker.get("/health").await.status, 200);
    assert!(!worker.log().contains("a-key-of-some-length"), "the key is in the log");
}
