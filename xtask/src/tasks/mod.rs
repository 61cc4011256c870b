//! One file per noun: its flags and what it does with them.

pub mod batch;
pub mod dev;
mod livekit;
pub mod tidy;

use crate::cli::{BatchVerb, Command};

/// Runs a command; the exit code.
pub async fn run(command: Command) -> u8 {
    match command {
        Command::BatchTest(args) | Command::Batch { verb: Some(BatchVerb::Test(args)) } => {
            batch::run(&args).await
        }
        // Refused where the command line is read.
        Command::Batch { verb: None } => 2,
        Command::Dev(args) => dev::run(&args).await,
        Command::Tidy(args) => tidy::run(&args).await,
    }
}
