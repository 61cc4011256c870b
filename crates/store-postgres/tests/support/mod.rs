//! A cluster for the tests of one binary, and a schema of it for each test.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};

use dialtone_auth::Secret;
use dialtone_child::Supervisor;
use dialtone_clock::{Clock, ScaledClock, Timeline};
use dialtone_postgres_cluster::{Binaries, Cluster, Options as ClusterOptions};
use dialtone_store_postgres::{Options, PostgresStore};
use tokio::sync::oneshot;

/// Set where a machine must have PostgreSQL: a test that cannot run fails then.
const REQUIRE: &str = "DIALTONE_REQUIRE_POSTGRES";

/// A cluster that lives as long as anyone holds it. It has a thread of its own, because each
/// test's runtime ends with the test.
pub struct Shared {
    url: Secret,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Shared {
    fn start(binaries: Binaries) -> Self {
        let (told, ready) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let cluster = cluster(&binaries, false).await;
                told.send(cluster.url()).expect("somebody waits");
                let _ = stopped.await;
                cluster.stop().await;
            });
        });
        let url = ready.recv().expect("the cluster starts");
        Self { url, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A cluster of a test's own.
pub async fn cluster(binaries: &Binaries, durable: bool) -> Cluster {
    let run = format!("store-postgres-{}", std::process::id());
    let options = ClusterOptions { run, log: None, durable };
    Cluster::start(&supervisor(), binaries, &options).await.expect("a cluster")
}

/// PostgreSQL on this machine; without it the test says that it was skipped, past the capture
/// of the test runner.
pub fn binaries(test: &str) -> Option<Binaries> {
    let found = Binaries::find();
    if found.is_none() {
        assert!(std::env::var_os(REQUIRE).is_none(), "{}", Binaries::MISSING);
        let line = format!("SKIPPED {test}: {}\n", Binaries::MISSING);
        std::io::stderr().write_all(line.as_bytes()).expect("a terminal or a file");
    }
    found
}

/// The cluster that the tests of this binary share.
pub fn shared(test: &str) -> Option<Arc<Shared>> {
    static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
    let binaries = binaries(test)?;
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = shared.upgrade() {
        return Some(running);
    }
    let started = Arc::new(Shared::start(binaries));
    *shared = Arc::downgrade(&started);
    Some(started)
}

/// A schema that nobody else uses.
pub fn place(cluster: &Shared) -> Options {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let schema = format!("test_{}", MADE.fetch_add(1, Ordering::Relaxed));
    Options { url: cluster.url.clone(), schema }
}

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(ScaledClock::new(Timeline::REAL))
}

/// An empty store, and the cluster below it.
pub async fn store(test: &str) -> Option<(PostgresStore, Options, Arc<Shared>)> {
    let cluster = shared(test)?;
    let place = place(&cluster);
    let store = PostgresStore::open(&place, clock()).await.expect("opened");
    Some((store, place, cluster))
}

/// `supervise`, from the folder that this binary was built into, or built there now.
fn supervisor() -> Supervisor {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let path = built.get_or_insert_with(|| {
        let exe = std::env::current_exe().expect("this binary has a path");
        let dir = exe.ancestors().nth(2).expect("target/<profile>/deps/name").to_owned();
        let path = dir.join("supervise");
        if !path.is_file() {
            build(&dir);
        }
        assert!(path.is_file(), "there is no {}", path.display());
        path
    });
    Supervisor::new(&*path)
}

fn build(dir: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let profile = if dir.ends_with("release") { "release" } else { "dev" };
    let mut command = Command::new(cargo);
    command.args(["build", "-p", "dialtone-supervise", "--profile", profile]);
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
