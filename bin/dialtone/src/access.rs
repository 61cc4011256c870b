//! `dialtone tenant`, `key`, `voice`, `user`: who may ask for what. They work whether or not
//! a server runs on the data directory, and hold for it from its next request on.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use dialtone_auth::KeyHash;
use dialtone_auth::api_key::{self, RANDOM_BYTES};
use dialtone_contract::TenantId;
use dialtone_store::{Access, NewApiKey};

use crate::config;
use crate::database::Place;

/// Characters of a name at most.
const NAME_MAX: usize = 100;

/// Subcommands of `tenant`.
#[derive(clap::Subcommand)]
pub enum TenantCommand {
    /// Add a tenant.
    Add {
        /// Lower-case letters, digits and dashes, 1 to 63.
        name: TenantId,
        #[command(flatten)]
        place: Place,
    },
    /// List the tenants.
    List {
        #[command(flatten)]
        place: Place,
    },
}

/// Subcommands of `key`.
#[derive(clap::Subcommand)]
pub enum KeyCommand {
    /// Add an API key and print it, this once: what is kept is a hash.
    Add {
        /// Whose requests it makes.
        #[arg(long)]
        tenant: TenantId,
        /// What to call it in lists.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// List the API keys: id, tenant, state, name.
    List {
        /// Only those of one tenant.
        #[arg(long)]
        tenant: Option<TenantId>,
        #[command(flatten)]
        place: Place,
    },
    /// Refuse an API key from now on.
    Revoke {
        /// Its id: what stands between `dk_` and the next `_`.
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Subcommands of `voice`.
#[derive(clap::Subcommand)]
pub enum VoiceCommand {
    /// Add a voice.
    Add {
        /// Its id.
        name: String,
        /// Whose it is.
        #[arg(long)]
        tenant: TenantId,
        #[command(flatten)]
        place: Place,
    },
}

/// Subcommands of `user`.
#[derive(clap::Subcommand)]
pub enum UserCommand {
    /// Add a user.
    Add {
        /// Its id.
        id: i64,
        /// Whose it is.
        #[arg(long)]
        tenant: TenantId,
        #[command(flatten)]
        place: Place,
    },
}

/// Runs a subcommand of `tenant`.
pub async fn tenant(command: TenantCommand) -> anyhow::Result<ExitCode> {
    match command {
        TenantCommand::Add { name, place } => {
            let added = open(&place).await?.add_tenant(&name).await?;
            done(added, &format!("tenant `{name}`"))
        }
        TenantCommand::List { place } => {
            print(open(&place).await?.tenants().await?.iter().map(ToString::to_string))
        }
    }
}

/// Runs a subcommand of `key`.
pub async fn key(command: KeyCommand) -> anyhow::Result<ExitCode> {
    match command {
        KeyCommand::Add { tenant, name, place } => {
            checked(name.as_deref().unwrap_or("-"))?;
            let store = open(&place).await?;
            known(&*store, &tenant).await?;
            let (id, key) = api_key::new_key(random()?);
            let (hash, at) = (KeyHash::of(key.expose()), config::clock()?.now());
            let new = NewApiKey { id, name, hash, at };
            if !store.add_api_key(&tenant, new).await? {
                bail!("the id of the new key is taken, which chance does not do; try again");
            }
            // Its one and only showing, to whoever asked for it.
            print([key.expose().to_owned()])
        }
        KeyCommand::List { tenant, place } => {
            let store = open(&place).await?;
            let tenants = match tenant {
                Some(tenant) => vec![tenant],
                None => store.tenants().await?,
            };
            let mut lines = Vec::new();
            for tenant in tenants {
                for key in store.api_keys(&tenant).await? {
                    let state = if key.revoked_at.is_some() { "revoked" } else { "active" };
                    let name = key.name.unwrap_or_default();
                    lines.push(format!("{} {tenant} {state} {} {name}", key.id, key.created_at));
                }
            }
            print(lines.iter().map(|line| line.trim_end().to_owned()))
        }
        KeyCommand::Revoke { id, place } => {
            let store = open(&place).await?;
            // Whoever pastes a whole key must not read it again in the error.
            let Some(row) = store.api_key(&id).await? else {
                bail!("there is no key with this id; `dialtone key list` shows the ids");
            };
            let at = config::clock()?.now();
            let revoked = store.revoke_api_key(&row.tenant, &row.id, at).await?;
            if !revoked {
                bail!("key `{}` was revoked before", row.id);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Runs a subcommand of `voice`.
pub async fn voice(command: VoiceCommand) -> anyhow::Result<ExitCode> {
    let VoiceCommand::Add { name, tenant, place } = command;
    checked(&name)?;
    let store = open(&place).await?;
    known(&*store, &tenant).await?;
    done(store.add_voice(&tenant, &name).await?, &format!("voice `{name}` of `{tenant}`"))
}

/// Runs a subcommand of `user`.
pub async fn user(command: UserCommand) -> anyhow::Result<ExitCode> {
    let UserCommand::Add { id, tenant, place } = command;
    let store = open(&place).await?;
    known(&*store, &tenant).await?;
    done(store.add_user(&tenant, id).await?, &format!("user {id} of `{tenant}`"))
}

async fn open(place: &Place) -> anyhow::Result<Arc<dyn Access>> {
    Ok(place.open_beside(config::clock()?).await?.access())
}

fn checked(name: &str) -> anyhow::Result<()> {
    let length = name.chars().count();
    if !(1..=NAME_MAX).contains(&length) || name.chars().any(char::is_control) {
        bail!("a name is 1 to {NAME_MAX} characters, none of them a control character");
    }
    Ok(())
}

async fn known(store: &dyn Access, tenant: &TenantId) -> anyhow::Result<()> {
    if !store.tenants().await?.contains(tenant) {
        bail!("there is no tenant `{tenant}`; add it with `dialtone tenant add {tenant}`");
    }
    Ok(())
}

fn random() -> anyhow::Result<[u8; RANDOM_BYTES]> {
    let mut bytes = [0; RANDOM_BYTES];
    let mut source = std::fs::File::open("/dev/urandom").context("cannot open /dev/urandom")?;
    source.read_exact(&mut bytes).context("cannot read /dev/urandom")?;
    Ok(bytes)
}

/// Adding what is there already is no failure: scripts say it again.
fn done(added: bool, what: &str) -> anyhow::Result<ExitCode> {
    print([format!("{what} {}", if added { "added" } else { "was there already" })])
}

fn print(lines: impl IntoIterator<Item = String>) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}
