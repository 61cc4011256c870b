//! The harness as a process: exit codes, streams and files, without a system under test.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use dialtone_harness::envelope::{CheckStatus, Envelope};

/// Longer than anything here should take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder of its own for runs, in a path that is no easy one.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("with space ").tempdir().expect("a folder");
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(args)
            .env("CARGO_TARGET_DIR", self.path("target"))
            .env_remove("LIVEKIT_URL")
            .env_remove("DATABASE_URL")
            .env_remove("LIVEKIT_MOCK_MODE")
            .env_remove("HOME")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("it runs")
    }

    /// A program that is a shell script.
    fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("writable");
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        path
    }

    /// A folder of binaries in which every service runs `body`.
    fn binaries(&self, body: &str) -> PathBuf {
        for name in ["dialtone", "livekit-dev", "test-worker"] {
            self.script(&format!("bin/{name}"), body);
        }
        let link = self.path("bin/supervise");
        std::os::unix::fs::symlink(supervise(), link).expect("writable");
        self.path("bin")
    }

    fn latest(&self) -> PathBuf {
        let runs = self.path("target/xtask/runs");
        let latest = fs::read_link(runs.join("latest")).expect("a run");
        runs.join(latest)
    }
}

/// The supervisor, built on demand: a test of one package does not build another's binaries.
fn supervise() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let args = ["build", "--quiet", "--package", "dialtone-supervise"];
        let status = Command::new(cargo).args(args).status();
        assert!(status.is_ok_and(|status| status.success()), "supervise does not build");
        Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("supervise")
    })
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Stdout as the one document that it must be.
fn document(output: &Output) -> Envelope {
    let envelope: Envelope = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)));
    assert_eq!(i32::from(envelope.exit_code), code(output));
    envelope
}

fn error_code(envelope: &Envelope) -> &'static str {
    envelope.error.as_ref().map_or("none", |error| error.code.as_str())
}

#[test]
fn alone_it_prints_the_menu() {
    let output = Bench::new().run(&[]);
    assert_eq!(code(&output), 0);
    assert!(text(&output.stdout).contains("batch:test"));
    assert!(output.stderr.is_empty());
}

#[test]
fn refusals_have_their_codes_and_one_document() {
    let bench = Bench::new();
    let file = bench.path("file");
    fs::write(&file, b"").expect("writable");
    let below_a_file = file.join("reports").to_string_lossy().into_owned();
    let nothing = bench.path("nothing").to_string_lossy().into_owned();
    let cases: [(&[&str], i32, &str); 8] = [
        (&["--total", "0"], 2, "usage"),
        (&["--total", "5", "--fail-count", "6"], 2, "usage"),
        (&["--livekit-url", "x"], 2, "usage"),
        (&["--livekit-url", "ws://key:canary@127.0.0.1:7880"], 2, "usage"),
        (&["--livekit-url", "wss://x.example"], 5, "environment"),
        (&["--livekit-url", "ws://x.example"], 5, "remote_refused"),
        (&["--report-dir", &below_a_file], 5, "environment"),
        (&["--bin-dir", &nothing], 5, "environment"),
    ];
    for (flags, wanted, error) in cases {
        let output = bench.run(&[&["batch:test", "--format", "json"], flags].concat());
        let envelope = document(&output);
        assert_eq!((code(&output), error_code(&envelope)), (wanted, error), "{flags:?}");
        // What the command line alone shows to be wrong is told in the parser's words.
        let said = text(&output.stderr);
        let parsed = said.starts_with("error: invalid value") && wanted == 2;
        assert!(parsed || said.contains(&format!("error[{error}]: ")), "{flags:?}: {said}");
        assert!(!text(&[output.stdout, output.stderr].concat()).contains("canary"), "{flags:?}");
    }
    assert!(!bench.path("target/xtask/runs").exists(), "nothing was started");
}

#[test]
fn a_database_that_is_not_used_is_said_without_its_url() {
    let bench = Bench::new();
    let nothing = bench.path("nothing");
    for (url, lines) in [("postgres://u:canary@db/x", 1), ("", 0)] {
        let mut command = bench.command(&["batch:test", "--format", "json", "--bin-dir"]);
        let output = command.arg(&nothing).env("DATABASE_URL", url).output().expect("it runs");
        let said = text(&output.stderr);
        let told = said.lines().filter(|line| line.contains("DATABASE_URL is ignored"));
        assert_eq!(told.count(), lines, "{said}");
        assert!(!said.contains("canary"), "{said}");
        document(&output);
    }
}

#[test]
fn a_target_folder_that_cannot_be_written_is_one_clear_line() {
    let bench = Bench::new();
    let binaries = bench.binaries("exit 0");
    let file = bench.path("file");
    fs::write(&file, b"").expect("writable");
    let mut command = bench.command(&["batch:test", "--format", "json", "--bin-dir"]);
    let output = command.arg(binaries).env("CARGO_TARGET_DIR", &file).output().expect("it runs");
    assert_eq!((code(&output), error_code(&document(&output))), (5, "environment"));
    let lines = text(&output.stderr);
    assert_eq!(lines.lines().filter(|line| line.contains("cannot be written")).count(), 1);
}

#[test]
fn a_build_that_fails_passes_cargos_code_on_and_prints_no_document() {
    let bench = Bench::new();
    let cargo = bench.script("cargo", "echo 'error: could not compile' >&2; exit 101");
    let mut command = bench.command(&["batch:test", "--format", "json"]);
    let output = command.env("CARGO", cargo).output().expect("it runs");
    assert_eq!(code(&output), 101);
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).contains("could not compile"));
}

#[test]
fn a_service_that_dies_is_told_and_leaves_a_whole_result() {
    let bench = Bench::new();
    let binaries = bench.binaries("echo a last word; exit 7").to_string_lossy().into_owned();
    let reports = bench.path("reports").to_string_lossy().into_owned();
    let began = Instant::now();
    let output = bench.run(&[
        "batch:test",
        "--seed",
        "42",
        "--format",
        "json",
        "--bin-dir",
        &binaries,
        "--report-dir",
        &reports,
    ]);
    assert!(began.elapsed() < PATIENCE / 2, "it waited out the timeout");
    let envelope = document(&output);
    assert_eq!((code(&output), error_code(&envelope)), (3, "child_exited"));
    assert_eq!(envelope.seed, 42);
    let names: Vec<_> = envelope.checks.iter().map(|check| check.name.as_str()).collect();
    let all = [
        "ready",
        "trigger",
        "counts",
        "attempts",
        "false_expiries",
        "agreement",
        "invariants",
        "teardown",
    ];
    assert_eq!(names, all);
    assert_eq!(envelope.count(CheckStatus::NotRun), 6);
    let talk = text(&output.stderr);
    assert!(talk.contains("a last word") && talk.contains("--seed 42"), "{talk}");
    for folder in [bench.latest(), PathBuf::from(&reports)] {
        let written = fs::read(folder.join("result.json")).expect("written");
        assert_eq!(written, output.stdout, "the file is the document");
        assert!(folder.join("junit.xml").exists());
    }
    let events = fs::read_to_string(bench.latest().join("events.jsonl")).expect("written");
    assert!(events.starts_with(r#"{"at_ms":"#) && events.contains("run_started"), "{events}");
    let last: Envelope = serde_json::from_str(events.lines().last().expect("lines")).expect("json");
    assert_eq!(last, envelope);
    for artifact in envelope.artifacts.values() {
        assert!(bench.latest().join(artifact).exists(), "{artifact} is not there");
    }
}

#[test]
fn a_report_folder_that_goes_away_is_in_the_document_and_in_the_exit_code() {
    let bench = Bench::new();
    let reports = bench.path("reports").to_string_lossy().into_owned();
    let body = format!("rm -rf '{reports}'; exit 7");
    let binaries = bench.binaries(&body).to_string_lossy().into_owned();
    let flags = ["--format", "json", "--bin-dir", &binaries, "--report-dir", &reports];
    let output = bench.run(&[["batch:test"].as_slice(), &flags].concat());
    let envelope = document(&output);
    assert_eq!((code(&output), error_code(&envelope)), (5, "environment"));
    let written = fs::read(bench.latest().join("result.json")).expect("written");
    assert_eq!(written, output.stdout, "the file is the document");
    assert!(text(&output.stderr).contains("cannot be written: "));
}

/// Waits until the run has got somewhere, or the time is over.
fn wait_for(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < PATIENCE, "it never came so far");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_signal_ends_a_run_in_order_with_a_partial_result() {
    for (command, signal, wanted) in
        [("batch:test", "INT", 130), ("batch:test", "TERM", 143), ("dev", "INT", 130)]
    {
        let bench = Bench::new();
        let binaries = bench.binaries("echo here; exec sleep 600").to_string_lossy().into_owned();
        let mut flags = vec![command, "--format", "json", "--bin-dir", &binaries];
        if command == "dev" {
            flags.extend(["--livekit-port", "0", "--api-port", "0"]);
        }
        let mut command = bench.command(&flags);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
        let runs = bench.path("target/xtask/runs");
        wait_for(|| {
            let log =
                fs::read_link(runs.join("latest")).map(|run| runs.join(run).join("dialtone.log"));
            log.is_ok_and(|log| fs::read_to_string(log).is_ok_and(|text| text.contains("here")))
        });
        let pid = child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()));
        let output = child.wait_with_output().expect("it ends");
        let envelope = document(&output);
        assert_eq!((code(&output), error_code(&envelope)), (wanted, "interrupted"));
        let failed = envelope.count(CheckStatus::Failed);
        assert_eq!(failed, 0, "what was cut short has not failed: {:?}", envelope.checks);
        assert!(bench.latest().join("result.json").exists());
    }
}

/// The arguments of every process that has this text in them.
#[cfg(target_os = "linux")]
fn running_with(mark: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("listed").flatten();
    let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| text(&line)).filter(|line| line.contains(mark)).collect()
}

#[test]
#[cfg(target_os = "linux")]
fn a_signal_during_the_build_ends_cargo_and_its_compilers() {
    for (signal, wanted) in [("INT", 130), ("TERM", 143), ("HUP", 143)] {
        let bench = Bench::new();
        let mark = bench.path("compiler").to_string_lossy().into_owned();
        // One compiler ends when asked to, the other has to be killed.
        bench.script("compiler", "while :; do sleep 0.1; done");
        bench.script("compiler-deaf", "trap '' TERM; while :; do sleep 0.1; done");
        let body = format!("'{mark}' & '{mark}-deaf' & wait");
        let cargo = bench.script("cargo", &body);
        let mut command = bench.command(&["batch:test", "--format", "json"]);
        command.env("CARGO", cargo).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.spawn().expect("it runs");
        wait_for(|| running_with(&mark).len() >= 2);
        let pid = child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()));
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(running_with(&mark), Vec::<String>::new(), "left behind");
        assert_eq!((code(&output), error_code(&document(&output))), (wanted, "interrupted"));
    }
}

#[test]
fn the_deadline_says_what_was_waited_for() {
    let bench = Bench::new();
    let binaries = bench.binaries("exec sleep 600").to_string_lossy().into_owned();
    let output = bench.run(&[
        "batch:test",
        "--format",
        "json",
        "--bin-dir",
        &binaries,
        "--deadline",
        "700ms",
    ]);
    let envelope = document(&output);
    assert_eq!((code(&output), error_code(&envelope)), (124, "run_deadline"));
    let message = envelope.error.map(|error| error.message).unwrap_or_default();
    assert!(message.ends_with("it was waiting for the stack to be ready"), "{message}");
}

#[test]
fn a_closed_reader_is_no_panic() {
    let bench = Bench::new();
    let binaries = bench.binaries("exit 7").to_string_lossy().into_owned();
    for args in [vec![], vec!["batch:test", "--bin-dir", &binaries, "--format", "jsonl"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = bench.command(&args);
        let output = command.stdout(writer).stderr(Stdio::piped()).output().expect("it runs");
        assert!(!text(&output.stderr).contains("panicked"), "{args:?}");
        assert_eq!(code(&output), if args.is_empty() { 0 } else { 3 }, "{args:?}");
    }
}
