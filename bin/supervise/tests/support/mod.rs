//! What the tests of the supervisor share.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dialtone_child::{Spec, Supervisor};

/// Ceiling for things that take milliseconds on an idle machine.
pub const CEILING: Duration = Duration::from_secs(20);

/// What the product promises: this long after the end of the parent nothing is left.
pub const PROMISE: Duration = Duration::from_secs(3);

pub fn supervisor() -> Supervisor {
    Supervisor::new(env!("CARGO_BIN_EXE_supervise"))
}

/// A run name that no other test has.
pub fn run_name(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A child that runs a shell script and logs into `dir`.
pub fn script(dir: &Path, run: &str, script: &str) -> Spec {
    Spec::new("script", "sh")
        .args(["-c", script])
        .run_tag(run)
        .log(dir.join("script.log"))
        .grace(Duration::from_millis(800))
}

/// Polls until `done`, and panics with `what` when it takes too long.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + CEILING;
    while !done() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
