//! Command lines that are wrong: exit code 2, one clear line, nothing started.

use dialtone_tests::{Ended, Harness};

async fn run(harness: &Harness, args: &[&str]) -> Ended {
    let output = harness.command(args).output().await.expect("xtask runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

#[tokio::test]
async fn wrong_command_lines_are_usage_errors() {
    let harness = Harness::new();
    let wrong: [&[&str]; 23] = [
        &["batch:test", "--total", "0"],
        &["batch:test", "--total", "1000001"],
        &["batch:test", "--total", "-1"],
        &["batch:test", "--total", "ten"],
        &["batch:test", "--total", "10", "--fail-count", "11"],
        &["batch:test", "--total", "10", "--fail-count", "6", "--stuck-count", "5"],
        &["batch:test", "--time-scale", "0"],
        &["batch:test", "--time-scale", "241"],
        &["batch:test", "--max-concurrent", "0"],
        &["batch:test", "--kill", "nobody@4"],
        &["batch:test", "--kill", "server"],
        &["batch:test", "--kill", "server@140%"],
        &["batch:test", "--kill", "server@40"],
        &["batch:test", "--kill", "livekit@40%", "--livekit-url", "ws://127.0.0.1:7880"],
        &["batch:test", "--cancel-at", "0%"],
        &["batch:test", "--cancel-at", "soon"],
        &["batch:test", "--cancel-mode", "drain"],
        &["batch:test", "--cancel-at", "40%", "--cancel-mode", "halt"],
        &["batch:test", "--surprise"],
        &["batch:test", "surprise"],
        &["batch:tset"],
        &["batch"],
        &["nothing:here"],
    ];
    for args in wrong {
        let ended = run(&harness, args).await;
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("error"), "{args:?}: {}", ended.stderr);
        let json = [args, &["--format", "json"]].concat();
        let document = run(&harness, &json).await.broke_off(2, "usage");
        assert!(document["error"]["message"].as_str().is_some_and(|m| m.len() > 5), "{json:?}");
    }
    assert!(harness.runs().is_empty(), "a run was begun");
}

#[tokio::test]
async fn help_is_no_error_and_names_the_exit_codes() {
    let harness = Harness::new();
    for args in [&["--help"][..], &["batch:test", "--help"], &["batch-test", "--help"]] {
        let ended = run(&harness, args).await;
        assert_eq!(ended.code, Some(0), "{args:?}");
        assert!(ended.stdout.contains("Exit codes"), "{args:?}: {}", ended.stdout);
        assert!(ended.stderr.is_empty(), "{args:?}: {}", ended.stderr);
    }
    let menu = run(&harness, &[]).await;
    assert!(menu.stdout.contains("batch:test"), "{}{}", menu.stdout, menu.stderr);
}
