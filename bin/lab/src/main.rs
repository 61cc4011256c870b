//! The heavy tools of the harness, each a subcommand that xtask runs.

fn main() {}
