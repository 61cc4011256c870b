use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

/// Names a folder with binaries that are built already.
const DIR_ENV: &str = "DIALTONE_BIN_DIR";

/// What the tests start.
const NEEDED: [&str; 6] =
    ["dialtone", "test-worker", "livekit-dev", "supervise", "xtask", "llm-worker"];

/// The folder with the built binaries: that of `DIALTONE_BIN_DIR`, or the one that one
/// cargo build of the workspace puts them into, done once in this process.
///
/// # Panics
/// If the workspace does not build, or a binary is missing.
pub fn bins() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = std::env::var_os(DIR_ENV).map_or_else(build, PathBuf::from);
        for name in NEEDED {
            assert!(dir.join(name).is_file(), "there is no {name} in {}", dir.display());
        }
        dir
    })
}

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root()).args(["build", "--workspace", "--bins"]);
    dialtone_harness::cargo::leftovers().for_each(|name| {
        command.env_remove(name);
    });
    command.args(["--message-format", "json-render-diagnostics", "--profile", &profile()]);
    let output = command.output().expect("cargo runs");
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the workspace does not build:\n{talk}");
    let lines = String::from_utf8_lossy(&output.stdout);
    let made = lines.lines().filter_map(executable).find(|path| path.ends_with(NEEDED[0]));
    let path = made.expect("cargo names the path of each binary");
    path.parent().expect("a binary lies in a folder").to_owned()
}

fn executable(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    (message["reason"] == "compiler-artifact").then_some(())?;
    Some(message["executable"].as_str()?.into())
}

/// The profile that this test binary was built with, so that the tests of a release
/// build look at release binaries: `target/<folder>/deps/suite-..`.
fn profile() -> String {
    let exe = std::env::current_exe().expect("this binary has a path");
    let folder = exe.ancestors().nth(2).and_then(Path::file_name).and_then(|name| name.to_str());
    match folder {
        None | Some("debug") => "dev".to_owned(),
        Some(other) => other.to_owned(),
    }
}
