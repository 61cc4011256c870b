//! Stacks of services that behave and services that do not, as real processes.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use dialtone_child::{RUN_ENV, census};
use dialtone_clock::Timeline;
use dialtone_contract::ErrorCode;
use dialtone_harness::event::Bus;
use dialtone_harness::failure::Failure;
use dialtone_harness::run_dir::RunDir;
use dialtone_harness::seed;
use dialtone_harness::stack::{Port, Service, Setting, Stack};
use dialtone_serve::lag::LoopLag;

/// Longer than anything here should take, shorter than a person waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// The folder of built binaries. The two that are needed here are built on demand: a test of one
/// package does not build another's binaries.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        for what in [
            ["--package", "dialtone-supervise", "--bin", "supervise"],
            ["--package", "dialtone-harness", "--example", "fake_service"],
        ] {
            let status = Command::new(&cargo).args(["build", "--quiet"]).args(what).status();
            assert!(status.is_ok_and(|status| status.success()), "{what:?} does not build");
        }
        // <target>/<profile>/deps/<this test>
        let this = std::env::current_exe().expect("a path");
        this.ancestors().nth(2).expect("a profile folder").to_owned()
    })
}

struct Bench {
    _base: tempfile::TempDir,
    dir: RunDir,
    bus: Bus,
    setting: Setting,
}

impl Bench {
    fn new() -> Self {
        let base = tempfile::Builder::new().prefix("with space ").tempdir().expect("a folder");
        let dir = RunDir::create(base.path(), &seed::run_id()).expect("a run folder");
        let setting = Setting {
            supervise: built().join("supervise"),
            timeline: Timeline::REAL,
            ready_within: PATIENCE,
        };
        Self { _base: base, dir, bus: Bus::new(), setting }
    }

    fn service(name: &str, mode: &str) -> Service {
        let port = Port::bind(name, 0).expect("a free port");
        Service::new(name, built().join("examples/fake_service"), "health", port).args([mode])
    }

    async fn start(&self, services: Vec<Service>) -> Stack {
        let started = Stack::start(services, &self.setting, &self.dir, &self.bus).await;
        started.expect("the processes start")
    }

    /// The failure with which a stack with one such service does not become ready, and how long it
    /// took to say so. The good service beside it is stopped too.
    async fn failure(&self, service: Service) -> (Failure, Duration) {
        let stack = self.start(vec![Self::service("good", "good"), service]).await;
        let began = Instant::now();
        let failure = stack.ready().await.expect_err("not ready");
        let took = began.elapsed();
        let down = stack.stop().await;
        assert_eq!(down.left(), Vec::<String>::new());
        (failure, took)
    }
}

#[tokio::test]
async fn a_good_stack_starts_and_leaves_nothing() {
    let bench = Bench::new();
    let services = ["one", "two", "three"].map(|name| Bench::service(name, "good"));
    let stack = bench.start(services.into()).await;
    stack.ready().await.expect("ready");
    let names: Vec<_> = stack.members().iter().map(|member| member.name.clone()).collect();
    assert_eq!(names, ["one", "two", "three"], "in the order of the start, not of luck");
    assert_eq!(census::tagged(bench.dir.run_id()).len(), 6, "three services, three supervisors");
    let down = stack.stop().await;
    assert_eq!((down.stopped, down.left()), (3, Vec::new()));
    assert!(bench.dir.log("one").exists());
}

#[tokio::test]
async fn what_is_killed_on_purpose_comes_back_on_its_port_and_is_no_death() {
    let bench = Bench::new();
    let stack = bench.start(vec![Bench::service("phoenix", "good")]).await;
    stack.ready().await.expect("ready");
    let member = stack.member("phoenix").expect("it is there");
    let (pid, port) = (member.pid(), member.port());
    let mut death = Box::pin(stack.death());
    for _ in 0..2 {
        let back = async {
            member.strike(&bench.bus).await.expect("killed");
            assert!(member.is_struck());
            member.revive(&bench.bus).await.expect("started");
            stack.ready_again(member).await
        };
        tokio::select! {
            back = back => back.expect("ready again"),
            failure = &mut death => panic!("taken for a death: {failure}"),
        }
    }
    assert!(!member.is_struck());
    assert_eq!(member.port(), port);
    assert_ne!(member.pid(), pid);
    // One that nobody asked for is a death, also of a process that came back.
    let killed = dialtone_child::process::find(member.pid()).expect("it runs");
    assert!(killed.signal(dialtone_child::Signal::Kill));
    let failure = tokio::time::timeout(PATIENCE, &mut death).await.expect("told");
    assert_eq!(failure.code, ErrorCode::ChildExited);
    assert!(failure.message.contains("SIGKILL"), "{failure}");
    drop(death);
    assert_eq!(stack.stop().await.left(), Vec::<String>::new());
}

#[tokio::test]
async fn one_that_ended_by_itself_was_not_killed_on_purpose() {
    let bench = Bench::new();
    let stack = bench.start(vec![Bench::service("mayfly", "exits")]).await;
    let member = stack.member("mayfly").expect("it was there");
    stack.death().await;
    let failure = member.strike(&bench.bus).await.expect_err("it had ended");
    assert_eq!(failure.code, ErrorCode::ChildExited);
    assert!(failure.message.contains("exit code 7") && !member.is_struck(), "{failure}");
    stack.stop().await;
}

#[tokio::test]
async fn a_service_that_does_not_come_back_is_a_failure() {
    let mut bench = Bench::new();
    bench.setting.ready_within = Duration::from_millis(1_500);
    let folder = tempfile::tempdir().expect("a folder");
    let script = format!(
        "[ -e '{0}' ] && exec sleep 60; touch '{0}'; exec '{1}' good \"$@\"",
        folder.path().join("was here").display(),
        built().join("examples/fake_service").display()
    );
    let port = Port::bind("ghost", 0).expect("a free port");
    // What passes the listener comes after these.
    let service = Service::new("ghost", "/bin/sh", "health", port).args(["-c", &script, "sh"]);
    let stack = bench.start(vec![service]).await;
    stack.ready().await.expect("ready");
    let member = stack.member("ghost").expect("it is there");
    member.strike(&bench.bus).await.expect("killed");
    member.revive(&bench.bus).await.expect("started");
    let failure = stack.ready_again(member).await.expect_err("never ready");
    assert_eq!((failure.code, failure.exit.code()), (ErrorCode::ReadyTimeout, 3));
    stack.stop().await;
}

#[tokio::test]
async fn a_death_before_ready_is_told_at_once_with_its_last_lines() {
    let (failure, took) = Bench::new().failure(Bench::service("mayfly", "exits")).await;
    assert_eq!(failure.code, ErrorCode::ChildExited);
    assert!(failure.message.contains("mayfly (pid "), "{failure}");
    assert!(failure.message.contains("ended with exit code 7"), "{failure}");
    assert_eq!(failure.evidence.len(), 20, "{:?}", failure.evidence);
    assert_eq!(failure.evidence.last().map(String::as_str), Some("line 30"));
    assert!(took < PATIENCE / 2, "it took {took:?}");
}

#[tokio::test]
async fn a_service_that_is_never_ready_says_why_not() {
    let mut bench = Bench::new();
    bench.setting.ready_within = Duration::from_millis(800);
    let (failure, _) = bench.failure(Bench::service("lazy", "never_ready")).await;
    assert_eq!((failure.code, failure.exit.code()), (ErrorCode::ReadyTimeout, 3));
    assert_eq!(failure.message, "lazy not ready within 800 ms");
    assert_eq!(failure.evidence[0], "lazy: store: the disk is on holiday");
}

#[tokio::test]
async fn a_service_that_answers_nothing_times_out_and_is_killed() {
    let mut bench = Bench::new();
    bench.setting.ready_within = Duration::from_millis(1_500);
    let (failure, _) = bench.failure(Bench::service("deaf", "deaf")).await;
    assert_eq!(failure.code, ErrorCode::ReadyTimeout);
    assert!(failure.evidence[0].contains("did not answer"), "{:?}", failure.evidence);
}

#[tokio::test]
async fn a_stranger_on_the_port_is_not_taken_for_the_service() {
    let service = Bench::service("other", "good").env("DIALTONE_NONCE", "of an earlier run");
    let (failure, took) = Bench::new().failure(service).await;
    assert_eq!((failure.code, failure.exit.code()), (ErrorCode::NotReady, 3));
    assert!(failure.message.contains("another process's nonce"), "{failure}");
    assert!(took < PATIENCE / 2, "it took {took:?}");
}

#[tokio::test]
async fn a_death_after_ready_is_told() {
    let bench = Bench::new();
    let stack = bench.start(vec![Bench::service("frail", "dies_later")]).await;
    stack.ready().await.expect("ready");
    let failure = stack.death().await;
    assert!(failure.message.contains("frail (pid "), "{failure}");
    assert!(failure.message.contains("exit code 9"), "{failure}");
    assert_eq!(stack.stop().await.left(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_left_behind_is_named_and_killed() {
    let bench = Bench::new();
    let stack = bench.start(vec![Bench::service("messy", "litters")]).await;
    stack.ready().await.expect("ready");
    let mut stray = Command::new("sleep")
        .arg("600")
        .env(RUN_ENV, bench.dir.run_id())
        .spawn()
        .expect("sleep runs");
    let down = stack.stop().await;
    let left = down.left();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0].contains("sleep 600"), "{left:?}");
    assert!(left[1].contains("left.sock"), "{left:?}");
    assert_eq!(down.failure().map(|failure| failure.exit.code()), Some(6));
    let ended = stray.wait().expect("it was ours");
    assert!(!ended.success(), "a leak must not outlive the run");
}

#[tokio::test]
async fn a_supervisor_that_is_stopped_does_not_hold_the_teardown() {
    let bench = Bench::new();
    let stack = bench.start(vec![Bench::service("good", "good")]).await;
    stack.ready().await.expect("ready");
    let tagged = census::tagged(bench.dir.run_id());
    let supervisor = tagged.iter().find(|one| one.name == "supervise").expect("it is there");
    let pid = supervisor.pid.to_string();
    let stopped = Command::new("kill").args(["-STOP", &pid]).status().expect("kill runs");
    assert!(stopped.success());
    let began = Instant::now();
    let down = stack.stop().await;
    assert!(began.elapsed() < PATIENCE, "it took {:?}", began.elapsed());
    assert_eq!(down.left(), Vec::<String>::new());
    let failure = down.bad_end().expect("told");
    assert!(failure.message.contains("the supervisor of good"), "{failure}");
}

#[tokio::test]
async fn a_bad_end_after_term_is_told() {
    let bench = Bench::new();
    let stack = bench.start(vec![Bench::service("sulky", "ends_badly")]).await;
    stack.ready().await.expect("ready");
    let failure = stack.stop().await.bad_end().expect("told");
    assert_eq!((failure.code, failure.exit.code()), (ErrorCode::ChildExited, 3));
    assert_eq!(failure.message, "sulky ended with exit code 4 when it was told to stop");
}

#[tokio::test]
async fn a_target_folder_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let base = tempfile::tempdir().expect("a folder");
    let odd = base.path().join(std::ffi::OsStr::from_bytes(b"odd\xff"));
    let failure = RunDir::create(&odd, "a").expect_err("refused");
    assert_eq!(failure.exit.code(), 5);
    assert!(failure.message.contains("is not UTF-8"), "{failure}");
    assert!(!odd.exists(), "nothing was made");
}

#[tokio::test]
async fn a_stack_that_is_dropped_ends_by_itself() {
    let bench = Bench::new();
    let stack = bench.start(vec![Bench::service("good", "good"), Bench::service("deaf", "deaf")]);
    drop(stack.await);
    let left = census::wait_empty(bench.dir.run_id(), PATIENCE).await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_port_that_is_taken_names_its_holder() {
    let held = Port::bind("held", 0).expect("a free port");
    let failure = Port::bind("wanted", held.number).expect_err("taken");
    assert_eq!((failure.code, failure.exit.code()), (ErrorCode::PortTaken, 5));
    assert!(failure.message.contains(&format!("pid {}", std::process::id())), "{failure}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_and_the_others_end() {
    let bench = Bench::new();
    let port = Port::bind("ghost", 0).expect("a free port");
    let ghost = Service::new("ghost", built().join("no-such-program"), "health", port);
    let services = vec![Bench::service("good", "good"), ghost];
    let started = Stack::start(services, &bench.setting, &bench.dir, &bench.bus).await;
    let Err(failure) = started else { panic!("a ghost was started") };
    assert!(failure.message.contains("no-such-program"), "{failure}");
    assert_eq!(Stack::sweep(&bench.dir).await.left(), Vec::<String>::new());
}

#[tokio::test]
async fn the_lag_of_a_service_is_read_from_its_health() {
    let own = LoopLag::start();
    let bench = Bench::new();
    let stack = bench.start(vec![Bench::service("good", "good")]).await;
    stack.ready().await.expect("ready");
    let live = stack.members()[0].livez(stack.http()).await.expect("it answers");
    assert_eq!(live.pid, stack.members()[0].pid());
    assert!(live.loop_lag_max_ms < PATIENCE.as_secs_f64() * 1e3);
    assert!(own.max() < PATIENCE);
    stack.stop().await;
}
