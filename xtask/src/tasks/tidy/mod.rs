//! `tidy`: the rules of the repository, checked.

/// Flags of `tidy`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    output: crate::cli::Output,
}

/// Runs it.
pub fn run(args: &Args) -> u8 {
    let _ = &args.output;
    0
}
