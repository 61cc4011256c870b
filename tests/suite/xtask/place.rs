//! Where the harness runs and writes: odd paths, missing variables, folders that refuse.

use std::process::Stdio;

use dialtone_tests::wait::soon;
use dialtone_tests::{Harness, bins};

use super::{SMALL, with};

const JSON: [&str; 2] = ["--format", "json"];

#[tokio::test]
async fn neither_a_home_nor_plain_paths_are_needed() {
    let harness = Harness::new().without("HOME").without("USER").without("TMPDIR");
    let reports = harness.dir().join("reports \u{e4}\u{f6} 'quoted'");
    let reports_text = reports.to_str().expect("text");
    let ended = harness.run(&with(&SMALL, &with(&JSON, &["--report-dir", reports_text]))).await;
    ended.document(0);
    for name in ["result.json", "junit.xml"] {
        assert!(reports.join(name).is_file(), "no {name}");
    }
    let junit = std::fs::read_to_string(reports.join("junit.xml")).expect("readable");
    assert!(junit.contains("<testsuite") && junit.contains("failures=\"0\""), "{junit}");
    harness.clean().await;
}

#[tokio::test]
async fn a_report_folder_that_refuses_is_told_before_anything_starts() {
    let harness = Harness::new();
    std::fs::write(harness.dir().join("file"), "no folder").expect("written");
    // A file in the way, and a file system that nobody can write to.
    for refusing in ["file", "file/reports", "/proc/dialtone-reports"] {
        let ended = harness.run(&with(&SMALL, &with(&JSON, &["--report-dir", refusing]))).await;
        let document = ended.broke_off(5, "environment");
        let message = document["error"]["message"].as_str().expect("a message");
        assert!(message.contains(refusing), "{message}");
        assert!(!ended.stderr.contains("Started"), "{}", ended.stderr);
        assert!(harness.runs().is_empty(), "a run was begun");
    }
}

#[tokio::test]
async fn a_run_folder_that_refuses_is_told_before_anything_starts() {
    let harness = Harness::new();
    std::fs::write(harness.dir().join("target"), "no folder").expect("written");
    let ended = harness.run(&with(&SMALL, &JSON)).await;
    ended.broke_off(5, "environment");
    assert!(!ended.stderr.contains("Started"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_folder_without_binaries_is_named() {
    let harness = Harness::new();
    let empty = harness.dir().join("empty");
    std::fs::create_dir(&empty).expect("made");
    let mut command = harness.command(&["batch:test", "--bin-dir", "empty", "--format", "json"]);
    let output = command.output().await.expect("runs");
    assert_eq!(output.status.code(), Some(5));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("empty") && text.contains("supervise"), "{text}");
}

/// Whoever reads may stop reading: the run goes on to its end, and cleans up.
#[tokio::test]
async fn a_reader_that_goes_away_stops_nothing() {
    let harness = Harness::new();
    let bin_dir = bins().to_str().expect("text");
    for (format, closed) in [("text", ">&-"), ("json", ">&-"), ("text", "2>&-"), ("text", "| true")]
    {
        let flags = with(&SMALL, &["--format", format, "--bin-dir", bin_dir]).join("' '");
        let xtask = bins().join("xtask");
        let line = format!(
            "set -o pipefail; '{}' batch:test '{flags}' 2>stderr {closed}",
            xtask.display()
        );
        let mut command = harness.command(&[]);
        let envs: Vec<_> = command
            .as_std()
            .get_envs()
            .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
            .collect();
        command = tokio::process::Command::new("bash");
        for (name, value) in envs {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .args(["-c", &line])
            .current_dir(harness.dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let status = soon("the end of xtask", command.status()).await.expect("runs");
        let stderr = std::fs::read_to_string(harness.dir().join("stderr")).unwrap_or_default();
        // What could not be written may make the result worse, but never a panic of it.
        assert!(matches!(status.code(), Some(0 | 5)), "{format} {closed}: {status} {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        let kept = harness.dir().join("target/xtask/runs/latest/result.json");
        let kept = std::fs::read_to_string(kept).expect("a result");
        assert!(
            kept.contains("\"verdict\": \"passed\"") || kept.contains("\"verdict\":\"passed\"")
        );
        harness.clean().await;
    }
    assert_eq!(harness.runs().len(), 4);
}
