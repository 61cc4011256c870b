//! `worker:soak`.

use dialtone_harness::flow::Limits;
use dialtone_harness::flow::soak::{self, Options};
use dialtone_harness::flow::worker::Binaries;

use super::{features, model, shell};
use crate::build::{self, NoBinaries, Selection};
use crate::cli::Common;
use crate::session::Session;

/// Flags of `worker:soak`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Soak")]
pub struct Args {
    /// Clients in all.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    clients: u32,
    /// Clients at once.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=512))]
    at_once: u32,
    /// Of 100 clients, those that read slowly.
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100))]
    slow: u32,
    /// A GGUF file, or the name of a fetched model: smollm2. Absent: the built-in model.
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Args {
    /// The command that does the same again.
    fn again(&self, seed: u64) -> String {
        let Self { clients, at_once, slow, .. } = self;
        let mut text = format!(
            "cargo xtask worker:soak --clients {clients} --at-once {at_once} --slow {slow}"
        );
        if let Some(model) = &self.model {
            text += &format!(" --model {}", shell(model));
        }
        text + &format!(" --seed {seed}")
    }
}

/// Runs it.
pub async fn run(args: &Args) -> u8 {
    let common = &args.common;
    let mut session = Session::begin(soak::COMMAND, common.seed, &common.output);
    session.identity.again = args.again(session.identity.seed);
    // Before a build that may take minutes.
    let model = match model::find(args.model.as_deref()) {
        Ok(model) => model,
        Err(failure) => return session.refuse(&failure),
    };
    let mut options = Options {
        model,
        clients: args.clients,
        at_once: args.at_once,
        slow: args.slow,
        within: common.timeout,
        binaries: Binaries::default(),
    };
    session.bus.emit(soak::opening(&session.identity, &options));
    if let Err(failure) = session.prepare() {
        return session.refuse(&failure);
    }
    let (bin_dir, quiet) = (common.bin_dir.as_deref(), common.output.quiet);
    let selection = Selection::workspace(features::NAMES);
    let built = build::executables(&selection, bin_dir, quiet, &session.bus, &session.interrupt);
    let mut found = match built.await {
        Ok(found) => found,
        Err(NoBinaries::Build(code)) => return code,
        Err(NoBinaries::Failure(failure)) => return session.refuse(&failure),
    };
    let mut get = |name| found.remove(name).unwrap_or_default();
    options.binaries = Binaries { supervise: get("supervise"), llm_worker: get("llm-worker") };
    let run = match session.open(soak::CHECKS) {
        Ok(run) => run.keep(common.keep),
        Err(failure) => return session.refuse(&failure),
    };
    let limits = Limits { interrupt: session.interrupt.clone(), deadline: common.deadline };
    let envelope = soak::run(run, &options, limits).await;
    session.exit(envelope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn what_is_told_to_do_the_same_again_does_the_same() {
        let line = "--clients 50 --at-once 8 --slow 20 --model a/b.gguf --seed 7";
        let words = std::iter::once("worker:soak").chain(line.split_whitespace());
        let read = <Line as clap::Parser>::try_parse_from(words).expect("a command line");
        assert_eq!(read.args.again(7), format!("cargo xtask worker:soak {line}"));
    }
}
