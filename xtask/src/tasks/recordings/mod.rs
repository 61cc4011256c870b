//! The commands of `recordings`. The work is done by `lab`; the run is kept here.

pub mod analyze;
pub mod selftest;
pub(super) mod tool;

use std::path::PathBuf;

use clap::ValueEnum;

use crate::build::{self, NoBinaries, Selection};
use crate::session::Session;

/// The `lab` to run: the one in this folder, else built now. The exit code if there is none.
pub(super) async fn lab(
    session: &Session,
    bin_dir: Option<&PathBuf>,
    quiet: bool,
) -> Result<PathBuf, u8> {
    let (selection, dir) = (Selection::workspace(&["lab"]), bin_dir.map(PathBuf::as_path));
    let found = build::executables(&selection, dir, quiet, &session.bus, &session.interrupt).await;
    match found {
        Ok(mut found) => Ok(found.remove("lab").unwrap_or_default()),
        Err(NoBinaries::Build(code)) => Err(code),
        Err(NoBinaries::Failure(failure)) => Err(session.refuse(&failure)),
    }
}

/// The name of a value, as it is written on a command line.
pub(super) fn spelled(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
}
