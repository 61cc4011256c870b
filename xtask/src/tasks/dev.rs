//! `dev`.

use dialtone_contract::ExitCode;
use dialtone_harness::envelope::Envelope;
use dialtone_harness::flow::Limits;
use dialtone_harness::flow::dev::{self, Options};
use dialtone_harness::interrupt::Asked;

use crate::cli::Common;
use crate::ending;
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
    let (binaries, run) = match session.get_ready(common, dev::CHECKS).await {
        Ok(ready) => ready,
        Err(code) => return code,
    };
    let options = Options {
        livekit_port: args.livekit_port,
        api_port: args.api_port,
        ready_within: common.timeout,
        binaries,
    };
    let limits = Limits { interrupt: session.interrupt.clone(), deadline: common.deadline };
    let mut envelope = dev::run(run, &options, limits).await;
    if let Some(asked) = session.interrupt.asked() {
        interrupted(&mut envelope, asked);
    }
    session.exit(envelope)
}

/// The signal decides the result, unless the stack had ended before it for a reason of its own.
fn interrupted(envelope: &mut Envelope, asked: Asked) {
    let own = [ExitCode::NotReady, ExitCode::Environment, ExitCode::Deadline];
    if !own.iter().any(|exit| exit.code() == envelope.exit_code) {
        ending::worsen(envelope, &asked.failure());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_decides_what_nothing_else_has() {
        for signal in [ExitCode::Interrupted, ExitCode::Terminated] {
            let asked = Asked { signal: "SIGINT", exit: signal };
            for (exit, wanted) in [
                (ExitCode::Passed, signal),
                (ExitCode::Leaked, signal),
                (signal, signal),
                (ExitCode::NotReady, ExitCode::NotReady),
                (ExitCode::Deadline, ExitCode::Deadline),
            ] {
                let mut envelope = Envelope::new(dev::COMMAND, "7f3a", 1);
                envelope.set_exit(exit);
                interrupted(&mut envelope, asked);
                assert_eq!(
                    (envelope.exit_code, envelope.verdict),
                    (wanted.code(), wanted.verdict())
                );
            }
        }
    }
}
