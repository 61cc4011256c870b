//! `dialtone demo-seed`.

use std::path::PathBuf;
use std::process::ExitCode;

use dialtone_store::Directory as _;
use dialtone_store_sqlite::SqliteStore;

use crate::config;

/// Arguments of `demo-seed`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder with the embedded store.
    #[arg(long, default_value = "data")]
    data_dir: PathBuf,
}

/// Seeds the embedded store.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let store = SqliteStore::open(&args.data_dir, config::clock()?)?;
    store.seed_demo().await?;
    Ok(ExitCode::SUCCESS)
}
