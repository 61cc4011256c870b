//! `dev`.

use dialtone_harness::flow::Limits;
use dialtone_harness::flow::dev::{self, Options};

use crate::build::{self, NoBinaries};
use crate::cli::Common;
use crate::session::Session;

/// Flags of `dev`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Stack")]
pub struct Args {
    /// Port of livekit-dev.
    #[arg(long, value_name = "PORT", default_value_t = 7880)]
    livekit_port: u16,
    /// Port of the API.
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    api_port: u16,
    #[command(flatten)]
    common: Common,
}

/// Runs it.
pub async fn run(args: &Args) -> u8 {
    let common = &args.common;
    let mut session = Session::begin(dev::COMMAND, common.seed, &common.output);
    session.identity.again = format!(
        "cargo xtask dev --livekit-port {} --api-port {}",
        args.livekit_port, args.api_port
    );
    session.bus.emit(dev::opening(&session.identity));
    if let Err(failure) = session.prepare() {
        return session.refuse(&failure);
    }
    let binaries = build::binaries(
        common.bin_dir.as_deref(),
        common.output.quiet,
        &session.bus,
        &session.interrupt,
    );
    let binaries = match binaries.await {
        Ok(binaries) => binaries,
        Err(NoBinaries::Build(code)) => return code,
        Err(NoBinaries::Failure(failure)) => return session.refuse(&failure),
    };
    let run = match session.open(dev::CHECKS) {
        Ok(run) => run.keep(common.keep),
        Err(failure) => return session.refuse(&failure),
    };
    let options = Options {
        livekit_port: args.livekit_port,
        api_port: args.api_port,
        ready_within: common.timeout,
        binaries,
    };
    let limits = Limits { interrupt: session.interrupt.clone(), deadline: common.deadline };
    let envelope = dev::run(run, &options, limits).await;
    session.exit(envelope)
}
