//! `dialtone explain`: why an entry is not moving, read from rows.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use dialtone_batch::Look;
use dialtone_contract::{EntryId, TenantId};
use dialtone_store_sqlite::SqliteStore;

use crate::config;

/// Arguments of `explain`.
#[derive(clap::Args)]
pub struct Args {
    /// The entry, `ent_..`.
    entry: String,
    /// Folder with the embedded store; a running server may own it.
    #[arg(long, default_value = "data")]
    data_dir: PathBuf,
    /// The tenant.
    #[arg(long, default_value = "demo")]
    tenant: TenantId,
    /// Show the number.
    #[arg(long)]
    reveal: bool,
    /// Print JSON instead of lines.
    #[arg(long)]
    json: bool,
}

/// Prints why the entry stands where it stands.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let key = EntryId::new(&*args.entry).key().context("an entry's id is like ent_0199a_149")?;
    let store = SqliteStore::open_read_only(&args.data_dir)?;
    let look = Look { reveal: args.reveal, now: config::clock()?.now(), livekit: None };
    let found = dialtone_batch::entry_detail(&store, &args.tenant, &key, &look).await?;
    let Some(found) = found else {
        let (tenant, dir) = (&args.tenant, args.data_dir.display());
        bail!("tenant `{tenant}` has no entry `{}` in {dir}", args.entry);
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&found)?)?;
    } else {
        write!(out, "{found}")?;
    }
    Ok(ExitCode::SUCCESS)
}
