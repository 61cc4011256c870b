//! `dialtone`: the platform's server and its offline commands.

mod access;
mod config;
mod database;
mod explain;
mod keys_file;
mod seed;
mod serve;
mod settings;
mod verify;
mod webhook;

use std::io::Write as _;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// Voice-agent call platform.
#[derive(Parser)]
#[command(name = "dialtone", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API and work off batches.
    Serve(serve::Args),
    /// Recount every invariant of a batch from its rows.
    Verify(verify::Args),
    /// Say why an entry is not moving.
    Explain(explain::Args),
    /// The endpoints that are told of a tenant's batches.
    Webhook(webhook::Args),
    /// Make sure that tenant `demo`, its user 1 and its voice `demo` exist.
    DemoSeed(seed::Args),
    /// Tenants of the platform.
    #[command(subcommand)]
    Tenant(access::TenantCommand),
    /// API keys of tenants.
    #[command(subcommand)]
    Key(access::KeyCommand),
    /// Voices of tenants.
    #[command(subcommand)]
    Voice(access::VoiceCommand),
    /// Users of tenants.
    #[command(subcommand)]
    User(access::UserCommand),
    /// The configuration of `serve`.
    #[command(subcommand)]
    Config(settings::ConfigCommand),
    /// Print the API reference: OpenAPI 3.1, as the server gives it at `/openapi.json`.
    Openapi,
}

#[tokio::main]
async fn main() -> anyhow::Result<std::process::ExitCode> {
    dialtone_serve::logs::init("dialtone");
    let matches = Cli::command().get_matches();
    // They agree: both are made from the same type.
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli.command {
        Command::Serve(args) => serve::run(args).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Explain(args) => explain::run(args).await,
        Command::Webhook(args) => webhook::run(args).await,
        Command::DemoSeed(args) => seed::run(args).await,
        Command::Tenant(command) => access::tenant(command).await,
        Command::Key(command) => access::key(command).await,
        Command::Voice(command) => access::voice(command).await,
        Command::User(command) => access::user(command).await,
        Command::Config(command) => {
            let mut last = &matches;
            while let Some((_, next)) = last.subcommand() {
                last = next;
            }
            settings::run(command, last)
        }
        Command::Openapi => {
            std::io::stdout().write_all(dialtone_api::document().as_bytes())?;
            Ok(std::process::ExitCode::SUCCESS)
        }
    }
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
