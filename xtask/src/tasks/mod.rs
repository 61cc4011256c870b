//! One file per noun: its flags and what it does with them.

pub mod batch;
pub mod dev;
pub mod explain;
mod livekit;
pub mod model;
pub mod recordings;
pub mod sim;
pub mod tidy;
pub mod worker;

use crate::cli::{BatchVerb, Command, ModelVerb, RecordingsVerb, WorkerVerb};

/// Runs a command; the exit code.
pub async fn run(command: Command) -> u8 {
    match command {
        Command::BatchTest(args) | Command::Batch { verb: Some(BatchVerb::Test(args)) } => {
            batch::run(&args).await
        }
        Command::BatchExplain(args) | Command::Batch { verb: Some(BatchVerb::Explain(args)) } => {
            explain::run(&args).await
        }
        Command::WorkerTest(args) | Command::Worker { verb: Some(WorkerVerb::Test(args)) } => {
            worker::run(&args).await
        }
        Command::ModelFetch(args) | Command::Model { verb: Some(ModelVerb::Fetch(args)) } => {
            model::run(&args).await
        }
        Command::WorkerSoak(args) | Command::Worker { verb: Some(WorkerVerb::Soak(args)) } => {
            worker::soak::run(&args).await
        }
        Command::RecordingsAnalyze(args)
        | Command::Recordings { verb: Some(RecordingsVerb::Analyze(args)) } => {
            recordings::analyze::run(&args).await
        }
        Command::RecordingsSelftest(args)
        | Command::Recordings { verb: Some(RecordingsVerb::Selftest(args)) } => {
            recordings::selftest::run(&args).await
        }
        // Refused where the command line is read.
        Command::Batch { verb: None }
        | Command::Worker { verb: None }
        | Command::Model { verb: None }
        | Command::Recordings { verb: None } => 2,
        Command::Sim(args) => sim::run(&args).await,
        Command::Dev(args) => dev::run(&args).await,
        Command::Tidy(args) => tidy::run(&args).await,
    }
}
