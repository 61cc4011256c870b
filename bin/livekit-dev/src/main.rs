//! `livekit-dev`: a LiveKit-compatible development server.

mod keys;
mod metrics;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use dialtone_livekit_dev::{LivekitDev, Mode, Options};
use dialtone_serve::address_file::{self, AddressFile};
use dialtone_serve::health::Health;
use dialtone_serve::{Limits, ListenArgs, listen, make_room, serve, shutdown_signal};

use crate::keys::Keys;

/// Exit code for a configuration that cannot be worked with.
const UNUSABLE: u8 = 5;
/// Bytes of a request: room metadata may be 512 KiB, and JSON may double it.
const BODY_BYTES: usize = 2 * 1024 * 1024;
/// Each worker and each participant holds a connection.
const CONNECTIONS: usize = 16_384;

/// LiveKit-compatible development server: rooms, agent dispatch, workers, signalling
/// and webhooks. No media.
///
/// API keys come from LIVEKIT_KEYS ("key: secret" pairs, separated by commas or lines)
/// or LIVEKIT_API_KEY and LIVEKIT_API_SECRET, each also as NAME_FILE. Without any, the
/// pair `devkey`, `secret` is used, on loopback only.
#[derive(Parser)]
#[command(name = "livekit-dev", version)]
struct Cli {
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 7880)]
    port: u16,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Inherited listener `http=DESCRIPTOR`, used instead of binding.
    #[arg(long, value_name = "NAME=N")]
    listen_fd: Vec<String>,
    /// File to write the address to, once listening.
    #[arg(long, value_name = "PATH")]
    address_file: Option<PathBuf>,
    /// Whose behaviour to have when a dispatch finds no worker, or a worker is lost.
    #[arg(long, value_enum, default_value_t)]
    mode: CliMode,
    /// Address that events are posted to. Repeatable.
    #[arg(long = "webhook", value_name = "URL")]
    webhooks: Vec<String>,
    /// Seed of ids and of the choice among workers.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum CliMode {
    /// As the open-source server: dropped and forgotten.
    #[default]
    Oss,
    /// Dispatches wait for workers, and lost jobs are dispatched again.
    Queue,
}

#[tokio::main]
async fn main() -> ExitCode {
    dialtone_serve::logs::init("livekit-dev");
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(UNUSABLE)
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let keys = Keys::from_env()?;
    if cli.listen_fd.is_empty() {
        keys.check_address(cli.bind)?;
    }
    let args = ListenArgs {
        bind: cli.bind,
        port: cli.port,
        listen_fd: cli.listen_fd,
        // Every request needs a token; which keys may be used where was checked above.
        auth_configured: true,
    };
    let listener = listen("http", &args)?;
    let address = listener.local_addr().context("failed to read the listener's address")?;
    keys.check_address(address.ip())?;

    let mode = match cli.mode {
        CliMode::Oss => Mode::Oss,
        CliMode::Queue => Mode::Queue,
    };
    let mut options = Options::new(keys.into_keys(), mode);
    options.webhooks = cli.webhooks;
    options.seed = cli.seed;
    options.introspection = address.ip().is_loopback();
    let (handle, router) = LivekitDev::new(options)?;
    let health = Health::start();
    health.registry().register_collector(Box::new(metrics::ServerMetrics(handle.clone())));
    let router = health.observe(router).merge(health.routes());

    let shutdown = shutdown_signal();
    let url = format!("http://{address}");
    if let Some(path) = &cli.address_file {
        let urls = BTreeMap::from([("http".to_owned(), url.clone())]);
        address_file::write(path, &AddressFile::of_this_process(urls))
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    tracing::info!(%url, mode = ?mode, "listening");
    let drain = tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            shutdown.cancelled().await;
            health.not_ready("server", "stopping");
            handle.shutdown().await;
        }
    });
    make_room(CONNECTIONS);
    let limits = Limits { connections: CONNECTIONS, body_bytes: BODY_BYTES, ..Limits::default() };
    serve(listener, router, limits, shutdown).await.context("failed to serve")?;
    drain.await.context("the drain failed")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
