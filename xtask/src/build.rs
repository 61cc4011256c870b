//! Getting the binaries: one cargo call for all of them, or a folder of prebuilt ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use dialtone_harness::envelope::millis;
use dialtone_harness::event::{Bus, Event};
use dialtone_harness::failure::Failure;
use dialtone_harness::flow::Binaries;
use dialtone_harness::interrupt::Interrupt;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::place;

/// Why there are no binaries.
pub enum NoBinaries {
    /// Cargo failed, and has said why; its exit code is passed on.
    Build(u8),
    /// Anything else.
    Failure(Failure),
}

impl From<Failure> for NoBinaries {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// The binaries: those in `bin_dir`, else built now.
pub async fn binaries(
    bin_dir: Option<&Path>,
    quiet: bool,
    bus: &Bus,
    interrupt: &Interrupt,
) -> Result<Binaries, NoBinaries> {
    match bin_dir {
        Some(dir) => Ok(found_in(dir)?),
        None => {
            let began = Instant::now();
            let what = "workspace binaries".to_owned();
            bus.emit(Event::BuildStarted { what: what.clone() });
            let built = tokio::select! {
                built = build(quiet) => built?,
                asked = interrupt.wait() => return Err(asked.failure().into()),
            };
            let duration_ms = millis(began.elapsed());
            bus.emit(Event::BuildFinished { what, duration_ms });
            Ok(built)
        }
    }
}

/// Prebuilt binaries.
fn found_in(dir: &Path) -> Result<Binaries, Failure> {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    of(|name| {
        let path = dir.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        path.is_file().then_some(path)
    })
    .map_err(|name| {
        Failure::environment(format!("--bin-dir {} has no {name}", dir.display()))
            .hint("build the workspace first, or drop --bin-dir")
    })
}

/// One call for everything, so that features are the same whatever is asked for.
async fn build(quiet: bool) -> Result<Binaries, NoBinaries> {
    let root = place::root().ok_or_else(|| {
        Failure::environment("the workspace is not above the working directory")
            .hint("run this inside the repository, or give --bin-dir a folder of prebuilt binaries")
    })?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--workspace", "--bins"])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    if quiet {
        command.arg("--quiet");
    }
    let cannot = |error: std::io::Error| {
        Failure::environment(format!("cargo cannot be run: {error}"))
            .hint("install Rust, or give --bin-dir a folder of prebuilt binaries")
    };
    let mut cargo = command.spawn().map_err(cannot)?;
    let stdout = cargo.stdout.take().expect("stdout was just made a pipe");
    let mut lines = BufReader::new(stdout).lines();
    let mut executables = BTreeMap::new();
    while let Ok(Some(line)) = lines.next_line().await {
        executables.extend(executable(&line));
    }
    let status = cargo.wait().await.map_err(cannot)?;
    if !status.success() {
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        return Err(NoBinaries::Build(code.unwrap_or(101)));
    }
    of(|name| executables.remove(name)).map_err(|name| {
        Failure::environment(format!("the workspace builds no binary `{name}`")).into()
    })
}

/// The binaries of the stack; the name of the first one that is not there.
fn of(mut find: impl FnMut(&str) -> Option<PathBuf>) -> Result<Binaries, &'static str> {
    let mut get = |name| find(name).ok_or(name);
    Ok(Binaries {
        supervise: get("supervise")?,
        dialtone: get("dialtone")?,
        livekit_dev: get("livekit-dev")?,
        test_worker: get("test-worker")?,
    })
}

/// What cargo says about one artifact; only what is read here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The binary that a line of cargo's messages announces.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: Message = serde_json::from_str(line).ok()?;
    if message.reason != "compiler-artifact" {
        return None;
    }
    Some((message.target?.name, message.executable?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_artifacts_with_an_executable_count() {
        let lines = [
            r#"{"reason":"compiler-artifact","target":{"name":"dialtone"},"executable":"/t/dialtone","fresh":true}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":null}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "not json",
        ];
        let found: Vec<_> = lines.iter().filter_map(|line| executable(line)).collect();
        assert_eq!(found, [("dialtone".to_owned(), PathBuf::from("/t/dialtone"))]);
    }

    #[test]
    fn a_missing_binary_is_named() {
        let dir = std::env::temp_dir().join("dialtone-no-binaries-here");
        let failure = found_in(&dir).expect_err("nothing there");
        assert_eq!(failure.exit.code(), 5);
        assert!(failure.message.ends_with("has no supervise"), "{failure}");
    }
}
