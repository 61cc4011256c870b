//! `dialtone demo-seed`.

use std::process::ExitCode;

use crate::config;
use crate::database::Place;

/// Arguments of `demo-seed`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
}

/// Seeds the store.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let database = args.place.open(config::clock()?).await?;
    database.store().seed_demo().await?;
    Ok(ExitCode::SUCCESS)
}
