use std::process::ExitCode;

use dialtone_contract::ErrorCode;

use crate::args::Inspect;
use crate::failure::Failure;
use crate::{model, output};

/// Prints what a model file says of itself.
pub fn run(args: &Inspect) -> ExitCode {
    let source = model::source(&args.model);
    let failure =
        Failure::new(ErrorCode::ModelUnsupported, format!("{source:?} cannot be read yet"));
    if args.json {
        output::line(&serde_json::to_string(&failure.problem()).unwrap_or_default());
    }
    failure.exit()
}
