//! `llm-worker`: one model, one backend, many calls at once. Serves OpenAI's API on loopback,
//! and tells a hive how it is.

mod args;
mod backends;
mod failure;
mod inspect;
mod model;
mod output;
mod secret;
mod serve;
mod span;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Cli, Command};
use crate::failure::Failure;

#[tokio::main]
async fn main() -> ExitCode {
    dialtone_serve::logs::init("llm-worker");
    let cli = Cli::parse();
    let done = match cli.command {
        None => serve::run(cli.serve).await,
        Some(Command::Inspect(args)) => return inspect::run(&args),
        Some(Command::Backends(args)) => backends::run(args),
    };
    done.map_or_else(|failure: Failure| failure.exit(), |()| ExitCode::SUCCESS)
}
