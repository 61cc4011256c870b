//! However a harness ends and whatever its child has left below it, nothing stays.
//!
//! Each test is one way to end. The harness is this test binary, started again as [`harness`].
#![cfg(target_os = "linux")]

mod support;

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use dialtone_child::{Child, Exit, Spec, census, process};
use rustix::process::{Pid, Signal, kill_process};
use support::{CEILING, PROMISE, run_name, script, supervisor, until};

/// Tells the harness what to do: the ending, the run, the kind of grandchild and the folder.
const ROLE: &str = "LEAK_TEST_ROLE";

/// Kinds of grandchild. Each says `leaf` once it is what it is meant to be.
const KINDS: [(&str, &str); 6] = [
    ("plain", "sh -c 'echo leaf; exec sleep 301' & sleep 300"),
    ("session", "setsid sh -c 'echo leaf; exec sleep 301' & sleep 300"),
    ("daemon", "(setsid sh -c '(echo leaf; exec sleep 301) & exit' &); sleep 300"),
    ("stubborn", "trap '' TERM; sh -c 'echo leaf; sleep 301; sleep 301' & sleep 300; sleep 300"),
    ("frozen", "sh -c 'echo leaf; kill -STOP $$; sleep 301' & sleep 300"),
    (
        "all",
        "trap '' TERM HUP; (setsid sh -c '(echo leaf; kill -STOP $$; sleep 301) & exit' &); sleep 300",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn normal_stop() {
    every_kind("stop", None, |status| status.success()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_handle() {
    every_kind("drop", None, |status| status.success()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn panic() {
    every_kind("panic", None, |status| status.code() == Some(101)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn process_exit() {
    every_kind("exit", None, |status| status.code() == Some(42)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn term_handled() {
    every_kind("handle-term", Some(Signal::TERM), |status| status.code() == Some(43)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn term_unhandled() {
    every_kind("hang", Some(Signal::TERM), |status| ended_by(status, Signal::TERM)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn int_unhandled() {
    every_kind("hang", Some(Signal::INT), |status| ended_by(status, Signal::INT)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill() {
    every_kind("hang", Some(Signal::KILL), |status| ended_by(status, Signal::KILL)).await;
}

/// The worst of all: the harness and its supervisors die at one moment. The kernel ends the
/// program, and what is below it is left to the run file.
#[tokio::test]
async fn killed_supervisor_takes_its_program_along() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_name("orphan");
    let (_, grandchild) = KINDS[5];
    let child = supervisor().start(script(dir.path(), &run, grandchild)).await.unwrap();
    until("the leaf is up", || child.log_tail(5).contains("leaf")).await;
    let program = process::find(child.pid()).unwrap();

    signal_process(child.supervisor_pid(), Signal::KILL);
    assert_eq!(child.wait().await, Exit::UNSEEN);
    until("the program is gone", || !program.runs()).await;
    // This process lives, so it has swept what the kernel does not reach.
    child.wait_gone().await;
    assert_eq!(census::wait_empty(&run, PROMISE).await, []);
}

#[tokio::test]
async fn terminated_supervisor_ends_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_name("term");
    let body = "trap 'echo bye; exit 7' TERM; setsid sh -c 'echo leaf; exec sleep 301' & \
                while :; do sleep 0.05; done";
    let child = supervisor().start(script(dir.path(), &run, body)).await.unwrap();
    until("the leaf is up", || child.log_tail(5).contains("leaf")).await;

    // A terminal's signals are the parent's business.
    signal_process(child.supervisor_pid(), Signal::INT);
    signal_process(child.supervisor_pid(), Signal::HUP);
    signal_process(child.supervisor_pid(), Signal::TERM);
    let exit = tokio::time::timeout(CEILING, child.wait_gone()).await.expect("TERM ends it");
    assert_eq!(exit.code, Some(7));
    assert!(child.log_tail(5).contains("bye"));
    assert_eq!(census::tagged(&run), []);
}

/// A later start finds the leftovers of a run whose harness and supervisors were all killed.
#[tokio::test]
async fn run_file_reaps_what_a_killed_supervisor_left() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_name("reap");
    let mut harness = start_harness("run-file", &run, 5, dir.path());
    wait_ready(&mut harness, dir.path()).await;
    assert!(dialtone_child::runfile::reap_stale(dir.path()).is_empty(), "its owner lives");

    let supervisors: Vec<_> =
        census::tagged(&run).into_iter().filter(|left| left.name == "supervise").collect();
    assert_eq!(supervisors.len(), 1);
    let programs: Vec<_> = process::all()
        .into_iter()
        .filter(|process| process.ppid == supervisors[0].pid && process.name == "sh")
        .collect();
    assert!(!programs.is_empty());
    // Frozen, the harness cannot sweep.
    signal_process(harness.id(), Signal::STOP);
    signal_process(supervisors[0].pid, Signal::KILL);
    let main = programs.into_iter().min_by_key(|process| process.start_time).unwrap();
    until("the kernel ends the program with its supervisor", || !main.runs()).await;
    harness.kill().unwrap();
    harness.wait().unwrap();

    let reaped = dialtone_child::runfile::reap_stale(dir.path());
    assert_eq!(reaped.len(), 1);
    assert_eq!(reaped[0].run, run);
    assert!(!reaped[0].killed.is_empty());
    assert_eq!(census::wait_empty(&run, PROMISE).await, []);
}

/// A hive under a harness: children of children have supervisors of their own.
#[tokio::test(flavor = "multi_thread")]
async fn nested_children_end_with_the_outermost() {
    for ending in ["kill", "stop", "crash"] {
        let dir = tempfile::tempdir().unwrap();
        let run = run_name(&format!("nested-{ending}"));
        let middle = Spec::new("middle", std::env::current_exe().unwrap())
            .args(["--exact", "harness", "--nocapture"])
            .env(ROLE, format!("handle-term\n{run}\n5\n{}", dir.path().display()))
            .run_tag(&run)
            .log(dir.path().join("harness.log"));
        let middle = supervisor().start(middle).await.unwrap();
        let ready = dir.path().join("ready");
        until("the inner child is up", || ready.exists() || middle.is_gone()).await;
        assert!(ready.exists() && census::tagged(&run).len() >= 5, "{}", middle.log_tail(20));
        match ending {
            "stop" => assert_eq!(middle.stop().await.code, Some(43), "it drains in order"),
            "kill" => assert_eq!(middle.kill().await.signal, Some(9)),
            _ => {
                middle.signal(dialtone_child::Signal::Kill).unwrap();
                assert_eq!(middle.wait_gone().await.signal, Some(9));
            }
        }
        assert_eq!(census::tagged(&run), [], "nothing is left when {ending} returns");
    }
}

/// A program that forks a successor and exits, for ever, is never where it was last seen.
#[tokio::test]
async fn a_process_that_keeps_forking_away_is_caught() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_name("hop");
    std::fs::write(dir.path().join("hop"), "sh hop &").unwrap();
    let body = "setsid sh hop & echo leaf; exec sleep 300";
    let child = supervisor().start(script(dir.path(), &run, body).cwd(dir.path())).await.unwrap();
    until("it is up", || child.log_tail(5).contains("leaf")).await;
    child.stop().await;
    assert!(child.leftovers().is_empty());
    assert_eq!(census::wait_empty(&run, PROMISE).await, []);
}

/// Runs one ending against every kind of grandchild at once.
async fn every_kind(
    ending: &'static str,
    signal: Option<Signal>,
    ended_well: fn(ExitStatus) -> bool,
) {
    let cases: Vec<_> = (0..KINDS.len())
        .map(|kind| tokio::spawn(one_case(ending, signal, ended_well, kind)))
        .collect();
    for case in cases {
        case.await.unwrap();
    }
}

async fn one_case(
    ending: &str,
    signal: Option<Signal>,
    ended_well: fn(ExitStatus) -> bool,
    kind: usize,
) {
    let dir = tempfile::tempdir().unwrap();
    let run = run_name(ending);
    let mut harness = start_harness(ending, &run, kind, dir.path());
    wait_ready(&mut harness, dir.path()).await;
    if let Some(signal) = signal {
        signal_process(harness.id(), signal);
    }
    let status = tokio::task::spawn_blocking(move || harness.wait().unwrap()).await.unwrap();
    let said = std::fs::read_to_string(dir.path().join("harness.log")).unwrap_or_default();
    assert!(ended_well(status), "{ending}/{}: {status}\n{said}", KINDS[kind].0);
    let left = census::wait_empty(&run, PROMISE).await;
    census::kill_all(&run);
    assert!(left.is_empty(), "{ending}/{} left {left:#?}", KINDS[kind].0);
}

fn start_harness(ending: &str, run: &str, kind: usize, dir: &Path) -> std::process::Child {
    let own = std::env::current_exe().unwrap();
    let mut command = if interrupt_is_ignored() {
        // A shell's background job ignores Ctrl-C, and so would all its children.
        let mut env = Command::new("env");
        env.arg("--default-signal=INT").arg(own);
        env
    } else {
        Command::new(own)
    };
    let log = std::fs::File::create(dir.join("harness.log")).unwrap();
    command
        .args(["--exact", "harness", "--nocapture", "--test-threads", "1"])
        .env(ROLE, format!("{ending}\n{run}\n{kind}\n{}", dir.display()))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn interrupt_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() & (1 << (Signal::INT.as_raw() - 1)) != 0
}

async fn wait_ready(harness: &mut std::process::Child, dir: &Path) {
    let ready = dir.join("ready");
    until("the harness is ready", || {
        let ended = harness.try_wait().unwrap();
        assert!(
            ready.exists() || ended.is_none(),
            "the harness ended early: {ended:?}\n{}",
            std::fs::read_to_string(dir.join("harness.log")).unwrap_or_default()
        );
        ready.exists()
    })
    .await;
}

fn ended_by(status: ExitStatus, signal: Signal) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(signal.as_raw())
}

fn signal_process(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Not a test of its own: the harness that the tests above start and end.
#[test]
fn harness() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let role: Vec<&str> = role.split('\n').collect();
    let [ending, run, kind, dir] = role[..] else { panic!("odd role {role:?}") };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(play(ending, run, KINDS[kind.parse::<usize>().unwrap()].1, Path::new(dir)));
}

async fn play(ending: &str, run: &str, grandchild: &str, dir: &Path) {
    let mut term = (ending == "handle-term").then(|| {
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap()
    });
    let _run_file =
        (ending == "run-file").then(|| dialtone_child::runfile::RunFile::create(dir, run).unwrap());
    let child: Child = supervisor().start(script(dir, run, grandchild)).await.unwrap();
    until("the leaf is up", || child.log_tail(5).contains("leaf")).await;
    assert!(census::tagged(run).len() >= 3, "supervisor, program and leaf carry the tag");
    std::fs::write(dir.join("ready"), "").unwrap();
    match ending {
        "stop" => {
            child.stop().await;
            assert_eq!(census::tagged(run), [], "nothing is left when stop returns");
        }
        "drop" => drop(child),
        "panic" => panic!("the harness has a bug"),
        "exit" => std::process::exit(42),
        _ => {
            if let Some(term) = &mut term {
                term.recv().await;
                child.stop().await;
                std::process::exit(43);
            }
            tokio::time::sleep(CEILING + Duration::from_secs(10)).await;
        }
    }
}
