//! What a child and its handle do while everything goes well, and the usual ways it does not.
#![cfg(target_os = "linux")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use dialtone_child::{ChildError, Exit, Signal, Spec, Strength, Supervisor, census, strength};
use support::{CEILING, PROMISE, run_name, script, supervisor, until};

/// Makes this test binary a server of a passed listener: the value of `--listen-fd`.
const SERVE: &str = "CHILDREN_TEST_SERVE";

#[tokio::test]
async fn exit_codes_and_signals_are_reported_to_every_waiter() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_name("exit");
    for (body, wanted, words) in [
        ("echo last words; exit 3", Exit { code: Some(3), signal: None }, "exit code 3"),
        ("echo last words", Exit { code: Some(0), signal: None }, "exit code 0"),
        (
            "echo last words; kill -SEGV $$",
            Exit { code: None, signal: Some(11) },
            "signal 11 (SIGSEGV)",
        ),
    ] {
        let child = supervisor().start(script(dir.path(), &run, body)).await.unwrap();
        // A wait that is dropped halfway loses nothing.
        let _ = tokio::time::timeout(Duration::ZERO, child.wait()).await;
        let (one, two) = tokio::join!(child.wait(), child.wait());
        assert_eq!((one, two), (wanted, wanted));
        // The last words are in the log as soon as the death is known.
        assert_eq!(child.log_tail(1), "last words");
        assert_eq!(child.try_exit(), Some(wanted));
        assert_eq!(child.stop().await.to_string(), words);
        assert_eq!(child.kill().await, wanted);
        assert!(child.is_gone());
        let late = child.signal(Signal::Term).unwrap_err();
        assert!(matches!(late, ChildError::Ended { .. }), "{late}");
    }
}

#[tokio::test]
async fn last_words_are_in_the_log_before_the_death_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_name("words");
    let body = "head -c 60000 /dev/zero | tr '\\0' x; echo; echo last words; exit 1";
    for _ in 0..20 {
        let child = supervisor().start(script(dir.path(), &run, body)).await.unwrap();
        child.wait().await;
        assert_eq!(child.log_tail(1), "last words");
        std::fs::remove_file(child.log_path()).unwrap();
    }
}

#[tokio::test]
async fn stop_is_term_then_grace_then_kill() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_name("stop");
    let orderly = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.02; done";
    let child = supervisor().start(script(dir.path(), &run, orderly)).await.unwrap();
    until("it is up", || child.log_tail(1) == "up").await;
    assert_eq!(child.stop().await.code, Some(7));
    assert_eq!(child.log_tail(1), "bye");

    let deaf = "trap '' TERM; echo deaf; while :; do sleep 0.02; done";
    let child = supervisor().start(script(dir.path(), &run, deaf)).await.unwrap();
    until("it is up", || child.log_tail(1) == "deaf").await;
    let begun = Instant::now();
    assert_eq!(child.stop().await.signal, Some(9));
    assert!(begun.elapsed() >= Duration::from_millis(800), "killed before its grace was over");

    let long = script(dir.path(), &run, deaf).grace(Duration::from_secs(3600));
    let child = supervisor().start(long.log(dir.path().join("long.log"))).await.unwrap();
    until("it is up", || child.log_tail(1) == "deaf").await;
    // A kill overtakes a stop that is under way.
    let (stopped, killed) = tokio::join!(child.stop(), child.kill());
    assert_eq!((stopped.signal, killed.signal), (Some(9), Some(9)));
    assert_eq!(census::tagged(&run), []);
}

#[tokio::test]
async fn signals_reach_the_program_and_a_frozen_one_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_name("signal");
    let body = "trap 'echo user' USR1; trap 'exit 7' TERM; echo up; while :; do sleep 0.02; done";
    let child = supervisor().start(script(dir.path(), &run, body)).await.unwrap();
    until("it is up", || child.log_tail(1) == "up").await;
    child.signal(Signal::Usr1).unwrap();
    until("the signal arrived", || child.log_tail(1) == "user").await;

    child.signal(Signal::Stop).unwrap();
    let stat = format!("/proc/{}/stat", child.pid());
    until("it is frozen", || std::fs::read_to_string(&stat).unwrap().contains(") T ")).await;
    assert_eq!(child.try_exit(), None);
    assert_eq!(child.stop().await.code, Some(7));
}

#[tokio::test]
async fn what_a_program_leaves_behind_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_name("orphans");
    let body = "setsid sh -c 'trap \"\" TERM; echo leaf; sleep 301; sleep 301' & \
                while ! grep -q leaf script.log; do sleep 0.02; done; exit 5";
    let spec = script(dir.path(), &run, body).cwd(dir.path()).grace(Duration::from_secs(3600));
    let child = supervisor().start(spec).await.unwrap();
    // The death is known at once, the rest goes on.
    assert_eq!(child.wait().await.code, Some(5));
    assert!(!census::tagged(&run).is_empty());
    let begun = Instant::now();
    assert_eq!(child.wait_gone().await.code, Some(5));
    assert!(begun.elapsed() < PROMISE);
    assert_eq!(census::tagged(&run), []);
    assert!(child.leftovers().is_empty());
}

#[tokio::test]
async fn failures_to_start_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_name("fail");
    let fail = async |supervisor: Supervisor, spec: Spec| {
        supervisor.start(spec.run_tag(&run)).await.expect_err("it cannot start").to_string()
    };
    let text = fail(supervisor(), Spec::new("a", "/nowhere/agent")).await;
    assert!(text.contains("child `a`") && text.contains("/nowhere/agent"), "{text}");
    assert!(text.contains("No such file") && text.contains("build it"), "{text}");

    let plain = dir.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    let text = fail(supervisor(), Spec::new("a", &plain)).await;
    assert!(text.contains("Permission denied") && text.contains("executable"), "{text}");

    let text = fail(Supervisor::new("/nowhere/supervise"), Spec::new("a", "true")).await;
    assert!(text.contains("/nowhere/supervise") && text.contains("cargo build"), "{text}");

    let log = dir.path().join("odd.log");
    std::fs::write(&log, "no such library\n").unwrap();
    let text = fail(Supervisor::new("false"), Spec::new("a", "true").log(&log)).await;
    assert!(text.contains("exit status: 1") && text.contains("no such library"), "{text}");

    let text = fail(supervisor(), Spec::new("a", "true").cwd("/nowhere")).await;
    assert!(text.contains("working directory /nowhere"), "{text}");
    let text = fail(supervisor(), Spec::new("a", "true").log(plain.join("a.log"))).await;
    assert!(text.contains("plain/a.log"), "{text}");
    assert_eq!(census::wait_empty(&run, PROMISE).await, []);
}

#[tokio::test]
async fn a_flood_of_output_neither_blocks_nor_grows() {
    const CAP: u64 = 1024 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let run = run_name("flood");
    let body = "yes flood-flood-flood-flood | head -c 200000000; echo; echo over; exec sleep 300";
    let spec = script(dir.path(), &run, body).log_cap(CAP);
    let child = supervisor().start(spec).await.unwrap();
    until("the flood is over", || child.log_tail(1) == "over").await;

    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(size(child.log_path()) <= CAP);
    assert!(size(&dir.path().join("script.log.1")) <= CAP);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "one older file is kept");
    let peak = peak_kib(child.supervisor_pid());
    assert!(peak < 32 * 1024, "the supervisor grew to {peak} KiB");
    child.stop().await;
}

#[tokio::test]
async fn a_listener_survives_the_crash_of_its_child() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_name("listener");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The test harness would not understand the argument, so the shell moves it.
    let body = format!("{SERVE}=\"$2\" exec \"$0\" --exact server --nocapture");
    let spec = Spec::new("server", "sh")
        .args(["-c", &body])
        .arg(std::env::current_exe().unwrap())
        .listener("http", listener)
        .log(dir.path().join("server.log"))
        .run_tag(&run);
    let first = supervisor().start(spec).await.unwrap();
    assert_eq!(ask(address).await, first.pid());

    first.signal(Signal::Kill).unwrap();
    assert_eq!(first.wait_gone().await.signal, Some(9));
    // Nobody serves, and still nobody is refused.
    let waiting = TcpStream::connect(address).unwrap();
    let second = first.respawn().await.unwrap();
    assert_ne!(second.pid(), first.pid());
    assert_eq!(answer(waiting).await, second.pid());

    second.stop().await;
    drop((first, second));
    assert!(TcpStream::connect(address).is_err(), "the port is free with the last handle");
}

#[tokio::test]
async fn siblings_share_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // A descriptor that this process forgot to close on exec.
    let (stray, stray_end) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(&stray_end, rustix::io::FdFlags::empty()).unwrap();
    let (one_run, two_run) = (run_name("one"), run_name("two"));
    let place = |name: &str| {
        let place = dir.path().join(name);
        std::fs::create_dir(&place).unwrap();
        place
    };
    let with_port = |spec: Spec| spec.listener("http", TcpListener::bind("127.0.0.1:0").unwrap());
    let body = "echo up; exec sleep 300";
    let (one, two) = tokio::join!(
        async {
            let spec = script(&place("one"), &one_run, body);
            supervisor().start(with_port(spec)).await.unwrap()
        },
        async {
            let spec = script(&place("two"), &two_run, body);
            supervisor().start(with_port(spec)).await.unwrap()
        },
    );
    until("both are up", || one.log_tail(1) == "up" && two.log_tail(1) == "up").await;
    assert_eq!(descriptors(one.pid()), [0, 1, 2, 3]);
    assert_eq!(descriptors(two.pid()), [0, 1, 2, 3]);
    drop(stray_end);
    let mut stray = stray;
    assert_eq!(stray.read(&mut [0]).unwrap(), 0, "somebody else still holds the stray pipe");

    // Would the second hold the first one's lifeline, the first would live on.
    drop(one);
    assert_eq!(census::wait_empty(&one_run, PROMISE).await, []);
    assert_eq!(two.try_exit(), None);
    assert_eq!(census::tagged(&two_run).len(), 2);
    two.kill().await;
    assert_eq!(census::tagged(&two_run), []);
}

#[tokio::test]
async fn the_environment_is_an_allowlist_and_arguments_hold_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_name("env");
    let spec = script(dir.path(), &run, "env; echo end; exec sleep 300");
    let child = supervisor().start(spec.env("SECRET", "canary")).await.unwrap();
    until("it has printed", || child.log_tail(1) == "end").await;
    let seen = child.log_tail(200);
    assert!(seen.contains("SECRET=canary") && seen.contains("PATH="), "{seen}");
    assert!(seen.contains(&format!("DIALTONE_RUN={run}")), "{seen}");
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some() && !seen.contains("CARGO_"), "{seen}");
    for left in census::tagged(&run) {
        let line = std::fs::read(format!("/proc/{}/cmdline", left.pid)).unwrap();
        assert!(!String::from_utf8_lossy(&line).contains("canary"));
    }
    child.kill().await;
}

#[test]
fn a_child_ends_with_the_runtime_that_knew_it() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_name("runtime");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let child = runtime.block_on(async {
        supervisor().start(script(dir.path(), &run, "exec sleep 300")).await.unwrap()
    });
    drop(runtime);
    let other = tokio::runtime::Runtime::new().unwrap();
    // Nobody is left to report the end, but a stop returns and the child does end.
    assert_eq!(other.block_on(child.stop()), Exit::UNSEEN);
    drop(child);
    assert_eq!(other.block_on(census::wait_empty(&run, PROMISE)), []);
}

#[test]
fn linux_keeps_the_whole_promise() {
    assert_eq!(strength(), Strength::Full);
}

/// Not a test of its own: the server that a test above starts.
#[test]
fn server() {
    let Ok(value) = std::env::var(SERVE) else { return };
    let fd = value.strip_prefix("http=").expect("name=number").parse().unwrap();
    let listener = dialtone_child::inherit::listener(fd).unwrap();
    listener.set_nonblocking(false).unwrap();
    loop {
        let (mut client, _) = listener.accept().unwrap();
        let _ = client.write_all(std::process::id().to_string().as_bytes());
    }
}

async fn ask(address: std::net::SocketAddr) -> u32 {
    answer(TcpStream::connect(address).unwrap()).await
}

async fn answer(mut stream: TcpStream) -> u32 {
    stream.set_read_timeout(Some(CEILING)).unwrap();
    let read = move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.parse().unwrap()
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

fn descriptors(pid: u32) -> Vec<u32> {
    let mut all: Vec<u32> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    all.sort_unstable();
    all
}

fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
