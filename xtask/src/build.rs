//! Getting the binaries: one cargo call for all of them, or a folder of prebuilt ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use dialtone_child::Signal;
use dialtone_child::process::{self, Process};
use dialtone_harness::envelope::millis;
use dialtone_harness::event::{Bus, Event};
use dialtone_harness::failure::Failure;
use dialtone_harness::flow::Binaries;
use dialtone_harness::interrupt::Interrupt;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::place;

/// How long a build that is called off may take to end by itself.
const GRACE: Duration = Duration::from_secs(1);
/// How often it is looked whether it has.
const POLL: Duration = Duration::from_millis(20);
/// Rounds of killing: what forks while it is killed is caught in the next round.
const ROUNDS: usize = 50;

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

/// What one call of cargo builds.
pub struct Selection {
    /// What it is, in words.
    pub what: String,
    /// The arguments of `cargo build`.
    pub arguments: Vec<String>,
    /// The binaries that are needed of it.
    pub names: &'static [&'static str],
}

impl Selection {
    /// All binaries of the workspace, so that features are the same whatever is asked for.
    pub fn workspace(names: &'static [&'static str]) -> Self {
        let arguments = ["--workspace", "--bins"].map(str::to_owned).to_vec();
        Self { what: "workspace binaries".to_owned(), arguments, names }
    }
}

/// Binaries by name.
pub type Found = BTreeMap<&'static str, PathBuf>;

/// The binaries of the batch stack: those in `bin_dir`, else built now.
pub async fn binaries(
    bin_dir: Option<&Path>,
    quiet: bool,
    bus: &Bus,
    interrupt: &Interrupt,
) -> Result<Binaries, NoBinaries> {
    let names = &["supervise", "dialtone", "livekit-dev", "test-worker"];
    let selection = Selection::workspace(names);
    let mut found = executables(&selection, bin_dir, quiet, bus, interrupt).await?;
    let mut get = |name| found.remove(name).unwrap_or_default();
    Ok(Binaries {
        supervise: get("supervise"),
        dialtone: get("dialtone"),
        livekit_dev: get("livekit-dev"),
        test_worker: get("test-worker"),
    })
}

/// Every binary of the selection: those in `bin_dir`, else built now.
pub async fn executables(
    selection: &Selection,
    bin_dir: Option<&Path>,
    quiet: bool,
    bus: &Bus,
    interrupt: &Interrupt,
) -> Result<Found, NoBinaries> {
    if let Some(dir) = bin_dir {
        return Ok(found_in(dir, selection.names)?);
    }
    let began = Instant::now();
    let what = selection.what.clone();
    bus.emit(Event::BuildStarted { what: what.clone() });
    let built = build(selection, quiet, interrupt).await?;
    let duration_ms = millis(began.elapsed());
    bus.emit(Event::BuildFinished { what, duration_ms });
    Ok(built)
}

/// Prebuilt binaries.
fn found_in(dir: &Path, names: &[&'static str]) -> Result<Found, Failure> {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    of(names, |name| {
        let path = dir.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        path.is_file().then_some(path)
    })
    .map_err(|name| {
        Failure::environment(format!("--bin-dir {} has no {name}", dir.display()))
            .hint("build the workspace first, or drop --bin-dir")
    })
}

/// One call for everything.
///
/// A signal ends cargo with every compiler and linker below it before this returns, and so does a
/// panic. SIGKILL of this process during the build does not: what holds children then is
/// `supervise`, which is being built. The compilers end by themselves, with their work done.
async fn build(
    selection: &Selection,
    quiet: bool,
    interrupt: &Interrupt,
) -> Result<Found, NoBinaries> {
    let cannot = |error: std::io::Error| {
        Failure::environment(format!("cargo cannot be run: {error}"))
            .hint("install Rust, or give --bin-dir a folder of prebuilt binaries")
    };
    let mut cargo = command(selection, quiet)?.spawn().map_err(cannot)?;
    let stdout = cargo.stdout.take().expect("stdout was just made a pipe");
    let mut group = Group(cargo.id());
    let mut lines = BufReader::new(stdout).lines();
    let mut executables = BTreeMap::new();
    let run = async {
        while let Ok(Some(line)) = lines.next_line().await {
            executables.extend(executable(&line));
        }
        cargo.wait().await
    };
    let ended = tokio::select! {
        ended = run => Ok(ended),
        asked = interrupt.wait() => Err(asked),
    };
    let status = match ended {
        Ok(status) => {
            // Servers that compilers share may live on in the group; they are not ours to end.
            group.0 = None;
            status.map_err(cannot)?
        }
        Err(asked) => {
            group.end(&mut cargo).await;
            return Err(asked.failure().into());
        }
    };
    if !status.success() {
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        return Err(NoBinaries::Build(code.unwrap_or(101)));
    }
    of(selection.names, |name| executables.remove(name)).map_err(|name| {
        Failure::environment(format!("the workspace builds no binary `{name}`")).into()
    })
}

/// The call of cargo.
fn command(selection: &Selection, quiet: bool) -> Result<Command, Failure> {
    let root = place::root().ok_or_else(|| {
        Failure::environment("the workspace is not above the working directory")
            .hint("run this inside the repository, or give --bin-dir a folder of prebuilt binaries")
    })?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .arg("build")
        .args(&selection.arguments)
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    dialtone_harness::cargo::leftovers().for_each(|name| {
        command.env_remove(name);
    });
    if quiet {
        command.arg("--quiet");
    }
    if HAS_GROUP {
        #[cfg(unix)]
        command.process_group(0);
    }
    Ok(command)
}

/// Only where processes can be listed can a group of its own be ended whole. Elsewhere cargo stays
/// in ours, so that Ctrl-C reaches it and its compilers from the terminal.
const HAS_GROUP: bool = cfg!(target_os = "linux");

/// Cargo and what runs below it, by the process id of cargo. Killed when dropped.
struct Group(Option<u32>);

impl Group {
    /// TERM, a grace, KILL, and a wait until nothing is left.
    async fn end(&mut self, cargo: &mut Child) {
        if !HAS_GROUP {
            let _ = cargo.kill().await;
            return;
        }
        for process in self.members() {
            process.signal(Signal::Term);
        }
        let began = Instant::now();
        while began.elapsed() < GRACE && !self.members().is_empty() {
            tokio::time::sleep(POLL).await;
        }
        self.kill();
        self.0 = None;
        let _ = cargo.wait().await;
    }

    fn kill(&self) {
        for _ in 0..ROUNDS {
            let members = self.members();
            if members.is_empty() {
                return;
            }
            for process in members {
                process.signal(Signal::Kill);
            }
            // What was killed needs a moment to leave the list.
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn members(&self) -> Vec<Process> {
        let Some(group) = self.0.filter(|_| HAS_GROUP) else { return Vec::new() };
        let all = process::all().into_iter();
        all.filter(|process| process.group == group && !process.zombie).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The binaries of these names; the name of the first one that is not there.
fn of(
    names: &[&'static str],
    mut find: impl FnMut(&str) -> Option<PathBuf>,
) -> Result<Found, &'static str> {
    names.iter().map(|name| Ok((*name, find(name).ok_or(*name)?))).collect()
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
        let failure = found_in(&dir, &["supervise", "dialtone"]).expect_err("nothing there");
        assert_eq!(failure.exit.code(), 5);
        assert!(failure.message.ends_with("has no supervise"), "{failure}");
    }
}
