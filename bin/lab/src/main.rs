//! `lab`: the heavy tools of the harness, each a subcommand that xtask runs. They stand here so
//! that `cargo xtask` itself links no TLS and no archives.

mod agent;
mod failure;
mod interrupt;
mod model;
mod progress;
mod recordings;
mod sim;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The heavy tools of the harness.
#[derive(Debug, Parser)]
#[command(name = "lab", version, term_width = 100)]
struct Cli {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Subcommand)]
enum Tool {
    /// Bring a model into the folder of test models, checked by its sha256.
    ModelFetch(model::Args),
    /// Who answered whom in recordings, and how late; tells line by line what comes of it.
    RecordingsAnalyze(recordings::analyze::Args),
    /// Make calls of known truth, as files.
    RecordingsMake(recordings::make::Args),
    /// Hold the analysis of recordings against calls of known truth; tells line by line what
    /// comes of it.
    RecordingsSelftest(recordings::selftest::Args),
    /// The batch pipeline in virtual time, seed by seed; tells line by line what comes of it.
    Sim(sim::Args),
}

fn main() -> ExitCode {
    match Cli::parse().tool {
        Tool::ModelFetch(args) => model::run(&args),
        Tool::RecordingsAnalyze(args) => recordings::analyze::run(&args),
        Tool::RecordingsMake(args) => recordings::make::run(&args),
        Tool::RecordingsSelftest(args) => recordings::selftest::run(&args),
        Tool::Sim(args) => sim::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
