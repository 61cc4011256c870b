//! `cargo xtask batch:test` as its users see it: exit codes, documents, and a clean
//! machine afterwards, however it ended.

mod broken;
mod drills;
mod passed;
mod place;
mod signals;
mod usage;

/// A small batch, at a speed that a busy machine keeps up with.
const SMALL: [&str; 10] = [
    "--total",
    "10",
    "--fail-count",
    "0",
    "--stuck-count",
    "0",
    "--dropped-count",
    "0",
    "--time-scale",
    "20",
];

/// A batch that lasts long enough to be disturbed.
const LONG: [&str; 4] = ["--total", "149", "--time-scale", "20"];

/// `base` with more flags.
fn with<'a>(base: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [base, more].concat()
}
