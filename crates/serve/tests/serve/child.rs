//! Tests that need a process of their own: this test binary, run again.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, Command, Stdio};

use dialtone_serve::health::Health;
use dialtone_serve::{Limits, address_file};

use crate::support::{HANG, Raw, Server, ms};

const ROLE: &str = "DIALTONE_SERVE_TEST_CHILD";

/// The lines that the child says on stdout, past what the test runner prints there.
struct Said(std::process::ChildStdout);

impl Said {
    fn wait_for(&mut self, word: &str) {
        let mut all = Vec::new();
        let mut byte = [0];
        while !all.ends_with(word.as_bytes()) {
            let read = self.0.read(&mut byte).expect("readable");
            let text = String::from_utf8_lossy(&all);
            assert!(read == 1, "the child ended before {word}: {text}");
            all.push(byte[0]);
        }
    }
}

fn say(word: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(word.as_bytes()).and_then(|()| out.flush()).expect("said");
}

fn again(test: &str, shell: &str) -> (Child, Said, ChildStderr) {
    let exe = std::env::current_exe().expect("this binary");
    let mut child = Command::new("sh")
        .args(["-c", &format!("{shell} exec \"$0\" \"$@\""), &exe.to_string_lossy()])
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, test)
        .env("LOG_FORMAT", "json")
        .env(address_file::NONCE_ENV, "7f3a")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let said = Said(child.stdout.take().expect("piped"));
    let stderr = child.stderr.take().expect("piped");
    (child, said, stderr)
}

fn is_child(test: &str) -> bool {
    std::env::var(ROLE).is_ok_and(|role| role == test)
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

#[tokio::test]
async fn the_first_signal_asks_and_the_second_ends() {
    const TEST: &str = "child::the_first_signal_asks_and_the_second_ends";
    if is_child(TEST) {
        dialtone_serve::logs::init("svc");
        let stop = dialtone_serve::shutdown_signal();
        say("<ready>");
        stop.cancelled().await;
        say("<cancelled>");
        tokio::time::sleep(HANG).await;
        return;
    }
    for (second, code) in [("-INT", 130), ("-TERM", 143)] {
        let (mut child, mut said, stderr) = again(TEST, "");
        said.wait_for("<ready>");
        send("-TERM", &child);
        said.wait_for("<cancelled>");
        send(second, &child);
        assert_eq!(child.wait().expect("ended").code(), Some(code));
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let line = lines.find(|line| line.starts_with('{')).expect("a log line in JSON");
        let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&event["service"], &event["level"]), (&"svc".into(), &"INFO".into()));
        assert!(event["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')), "{event}");
    }
}

#[tokio::test]
async fn want_of_descriptors_passes() {
    const TEST: &str = "child::want_of_descriptors_passes";
    if !is_child(TEST) {
        let (mut child, _said, mut stderr) = again(TEST, "ulimit -n 64;");
        let mut log = String::new();
        stderr.read_to_string(&mut log).expect("readable");
        assert!(child.wait().expect("ended").success(), "{log}");
        let failed = log.lines().filter(|line| line.contains("cannot accept")).count();
        assert!((1..=10).contains(&failed), "{failed} failures to accept were logged:\n{log}");
        return;
    }
    dialtone_serve::logs::init("svc");
    let router = axum::Router::new().route("/ok", axum::routing::get(async || "fine"));
    let server = Server::start(router, Limits::default());
    tokio::task::yield_now().await;
    // Nothing is awaited from here on until every descriptor is taken, so the server, on
    // the same thread, cannot accept meanwhile.
    let client = std::net::TcpStream::connect(server.addr).expect("connected");
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    client.set_nonblocking(true).expect("set");
    let mut raw = Raw(tokio::net::TcpStream::from_std(client).expect("registered"));
    raw.send("GET /ok HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let early = tokio::time::timeout(ms(200), raw.0.readable()).await;
    assert!(early.is_err(), "served without a descriptor");
    drop(taken);
    assert_eq!(raw.answer().await.status(), 200);
}

#[tokio::test]
async fn the_nonce_of_the_environment_comes_back() {
    const TEST: &str = "child::the_nonce_of_the_environment_comes_back";
    if !is_child(TEST) {
        let (mut child, _said, mut stderr) = again(TEST, "");
        let mut log = String::new();
        stderr.read_to_string(&mut log).expect("readable");
        assert!(child.wait().expect("ended").success(), "{log}");
        return;
    }
    let server = Server::start(Health::start().routes(), Limits::default());
    let live = server.ask("GET /livez HTTP/1.1", "").await;
    let body: serde_json::Value = serde_json::from_str(live.body()).expect("JSON");
    assert_eq!(body["nonce"], "7f3a");
    let file = address_file::AddressFile::of_this_process([("api".into(), server.url(""))].into());
    assert_eq!((file.nonce.as_str(), file.pid), ("7f3a", std::process::id()));
}
