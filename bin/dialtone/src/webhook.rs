//! `dialtone webhook`: the endpoints that are told of a tenant's batches.

mod client;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use dialtone_auth::WebhookKeys;
use dialtone_batch::check_url;
use dialtone_contract::{TenantId, limits};
use dialtone_store::{Webhook, WebhookEvents};

use crate::{config, database};

pub use client::Client;

/// Arguments of `webhook`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Tell an endpoint of the ends of batches taken in from now on. Prints its signing key.
    Add(AddArgs),
    /// The tenant's endpoints.
    List(ListArgs),
    /// Tell an endpoint of no further batches. Of those taken in already it is still told.
    Remove(RemoveArgs),
}

#[derive(clap::Args)]
#[group(id = "webhook_place")]
struct Place {
    #[command(flatten)]
    store: database::Place,
    /// The tenant.
    #[arg(long, global = true, default_value = "demo")]
    tenant: TenantId,
}

#[derive(clap::Args)]
struct AddArgs {
    /// Where to: http:// or https://, without credentials.
    #[arg(long)]
    url: String,
    /// What it is told of.
    #[arg(long, value_delimiter = ',', default_value = "batch,entry")]
    events: Vec<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Event {
    /// The end of a batch.
    Batch,
    /// The end of each entry.
    Entry,
}

#[derive(clap::Args)]
struct ListArgs {
    /// Print JSON instead of lines.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct RemoveArgs {
    /// The endpoint, `whk_..`.
    id: String,
}

/// Does what is asked.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { place, verb } = args;
    match verb {
        Verb::Add(args) => add(&place, args).await,
        Verb::List(args) => list(&place, &args).await,
        Verb::Remove(args) => remove(&place, &args).await,
    }
}

async fn add(place: &Place, args: AddArgs) -> anyhow::Result<ExitCode> {
    let AddArgs { url, events } = args;
    // Not the URL itself: a query may carry a credential.
    check_url(&url).context("the URL cannot be a webhook")?;
    let store = place.store.open_beside(config::clock()?).await?.store();
    let there = store.webhooks(&place.tenant).await?.len();
    if there >= limits::WEBHOOKS_MAX {
        bail!("tenant `{}` has {there} webhooks, which is the most; remove one", place.tenant);
    }
    let events = WebhookEvents {
        batch: events.contains(&Event::Batch),
        entry: events.contains(&Event::Entry),
    };
    let id = format!("whk_{}", uuid::Uuid::now_v7().simple());
    let webhook = Webhook { id, url, events };
    if !store.add_webhook(&place.tenant, &webhook).await? {
        bail!("there is no tenant `{}`", place.tenant);
    }
    let keys = WebhookKeys::new(&config::platform_secret(&place.store.data_dir)?);
    let key = keys.of(place.tenant.as_str(), &webhook.id);
    let mut out = std::io::stdout().lock();
    // Shown to who may make it: whoever reads the data directory can derive it.
    writeln!(out, "{:>12} {}", "webhook", webhook.id)?;
    writeln!(out, "{:>12} {}", "signing key", key.expose())?;
    Ok(ExitCode::SUCCESS)
}

async fn list(place: &Place, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let store = place.store.open_read_only().await?.store();
    let found = store.webhooks(&place.tenant).await?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&found)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for webhook in found {
        let WebhookEvents { batch, entry } = webhook.events;
        let events = match (batch, entry) {
            (true, true) => "batch,entry",
            (true, false) => "batch",
            _ => "entry",
        };
        writeln!(out, "{} {events:<12} {}", webhook.id, webhook.url)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn remove(place: &Place, args: &RemoveArgs) -> anyhow::Result<ExitCode> {
    let id = &args.id;
    let store = place.store.open_beside(config::clock()?).await?.store();
    if !store.remove_webhook(&place.tenant, id).await? {
        bail!("tenant `{}` has no webhook `{id}`", place.tenant);
    }
    Ok(ExitCode::SUCCESS)
}
