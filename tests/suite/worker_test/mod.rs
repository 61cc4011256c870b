//! `cargo xtask worker:test` as its users see it: what passes, and everything that must not.

mod backends;
mod bad;
mod ended;
mod good;
mod models;
mod soak;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use dialtone_tests::{Ended, Harness, bins};
use serde_json::Value;

/// Short waits: nothing here is slow unless it is broken.
const COMMON: [&str; 4] = ["--timeout", "4", "--format", "json"];

/// `xtask worker:test` with a worker that misbehaves so, or behaves.
struct Bad {
    harness: Harness,
    mode: &'static str,
    folder: PathBuf,
}

impl Bad {
    /// A folder with `supervise` and the worker, and nothing else: a worker needs nothing else.
    fn worker(mode: &'static str) -> Self {
        let harness = Harness::new();
        let folder = harness.dir().join("bins");
        std::fs::create_dir(&folder).expect("made");
        symlink(bins().join("supervise"), folder.join("supervise")).expect("linked");
        let program = env!("CARGO_BIN_EXE_bad-worker");
        // Its variables come from the harness, which hands on none of ours.
        let script = format!("#!/bin/sh\nBAD_WORKER={mode} exec '{program}' \"$@\"\n");
        let path = folder.join("llm-worker");
        std::fs::write(&path, script).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
        Self { harness, mode, folder }
    }

    fn args<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let folder = self.folder.to_str().expect("text");
        [&["worker:test", "--bin-dir", folder], COMMON.as_slice(), more].concat()
    }

    /// Runs it to its end, and looks whether it has left anything.
    async fn run(&self, more: &[&str]) -> Ended {
        let ended = self.harness.run_command(&self.args(more)).await;
        self.harness.clean().await;
        ended
    }

    /// Runs it, and holds its result to this.
    async fn fails(&self, expected: Expected) -> (Value, String) {
        let ended = self.run(&[]).await;
        let mode = self.mode;
        let told = format!("{mode}: {}\n{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, Some(expected.exit), "{told}");
        let document = ended.document(expected.exit);
        assert_eq!(document["error"]["code"], expected.code, "{told}");
        let check = check(&document, expected.check);
        assert_eq!(check["status"], "failed", "{told}");
        let detail = check["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(expected.says), "{mode}: {detail:?} lacks {:?}", expected.says);
        assert_eq!(check_status(&document, "teardown"), expected.teardown, "{told}");
        (document, ended.stderr)
    }
}

/// How a run must fail.
struct Expected {
    check: &'static str,
    code: &'static str,
    exit: i32,
    says: &'static str,
    teardown: &'static str,
}

/// A failed check, and an orderly end.
const fn failed(
    check: &'static str,
    code: &'static str,
    exit: i32,
    says: &'static str,
) -> Expected {
    Expected { check, code, exit, says, teardown: "passed" }
}

fn check<'a>(document: &'a Value, name: &str) -> &'a Value {
    let checks = document["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["name"] == name).expect(name)
}

fn check_status<'a>(document: &'a Value, name: &str) -> &'a str {
    check(document, name)["status"].as_str().expect("a status")
}
