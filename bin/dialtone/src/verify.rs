//! `dialtone verify`: the invariants of one batch, recounted from rows.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use dialtone_contract::{BatchId, TenantId};

use crate::database::Place;

/// Arguments of `verify`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// The batch.
    #[arg(long)]
    batch: String,
    /// The tenant.
    #[arg(long, default_value = "demo")]
    tenant: TenantId,
    /// Print JSON instead of lines.
    #[arg(long)]
    json: bool,
}

/// Prints the invariants; fails if one does not hold.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let database = args.place.open_read_only().await?;
    let store = database.store();
    let batch = BatchId::new(args.batch);
    let Some(found) = dialtone_batch::verify(&*store, &args.tenant, &batch).await? else {
        bail!("tenant `{}` has no batch `{batch}` in {}", args.tenant, args.place);
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&found)?)?;
    } else {
        for invariant in &found.invariants {
            let word = if invariant.holds { "holds" } else { "BROKEN" };
            writeln!(out, "{word:>12} {} {}", invariant.name, invariant.detail)?;
        }
    }
    Ok(if found.broken().next().is_none() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
