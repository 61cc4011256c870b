//! Cargo called by a program that cargo started.

use std::ffi::OsString;

/// Variables that cargo sets for the package it runs or tests.
const OF_PACKAGE: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];

/// The variables to remove for a cargo of one's own. Build scripts look at them and would
/// run again, and with them all that stands on their crates, whenever a build is asked
/// for from another package.
pub fn leftovers() -> impl Iterator<Item = OsString> {
    std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        OF_PACKAGE.iter().any(|prefix| name.starts_with(prefix)) || name == "OUT_DIR"
    })
}
