//! `dialtone explain`: why an entry is not moving, read from rows.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use dialtone_batch::Look;
use dialtone_contract::{EntryId, TenantId};

use crate::config;
use crate::database::Place;

/// Arguments of `explain`.
#[derive(clap::Args)]
pub struct Args {
    /// The entry, `ent_..`.
    entry: String,
    #[command(flatten)]
    place: Place,
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
    let store = args.place.open_read_only().await?.store();
    let look = Look { reveal: args.reveal, now: config::clock()?.now(), livekit: None };
    let found = dialtone_batch::entry_detail(&*store, &args.tenant, &key, &look).await?;
    let Some(found) = found else {
        let (tenant, place) = (&args.tenant, &args.place);
        bail!("tenant `{tenant}` has no entry `{}` in {place}", args.entry);
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&found)?)?;
    } else {
        write!(out, "{found}")?;
    }
    Ok(ExitCode::SUCCESS)
}
