use std::io::Read as _;
use std::process::ExitCode;

use dialtone_contract::ErrorCode;
use dialtone_inference::load::{self, ModelInfo, Source};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::args::Inspect;
use crate::failure::Failure;
use crate::{model, output};

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// What is told of a model file.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    info: ModelInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

/// Prints what a model file says of itself.
pub fn run(args: &Inspect) -> ExitCode {
    match look(args) {
        Ok(told) => {
            output::line(&if args.json { json(&told) } else { text(&told) });
            ExitCode::SUCCESS
        }
        Err(failure) => {
            if args.json {
                output::line(&json(&failure.problem()));
            }
            failure.exit()
        }
    }
}

fn look(args: &Inspect) -> Result<Told, Failure> {
    let source = model::source(&args.model);
    let info = load::inspect(&source).map_err(|error| Failure::of(error.code(), &error))?;
    let sha256 = if args.sha256 { Some(sum(&source)?) } else { None };
    Ok(Told { info, sha256 })
}

/// SHA-256 of a model, in hexadecimal digits.
fn sum(source: &Source) -> Result<String, Failure> {
    let mut hash = Sha256::new();
    match source {
        Source::BuiltIn => hash.update(load::BUILT_IN_FILE),
        Source::File(path) => {
            let broken = |error: std::io::Error| {
                Failure::new(ErrorCode::ModelInvalid, format!("{}: {error}", path.display()))
            };
            let mut file = std::fs::File::open(path).map_err(broken)?;
            let mut piece = vec![0; PIECE];
            loop {
                match file.read(&mut piece) {
                    Ok(0) => break,
                    Ok(read) => hash.update(&piece[..read]),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(broken(error)),
                }
            }
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn json(document: &impl Serialize) -> String {
    serde_json::to_string(document).unwrap_or_default()
}

fn text(told: &Told) -> String {
    let Told { info, sha256 } = told;
    let mut lines = vec![
        format!("name          {}", info.name),
        format!("architecture  {}", info.architecture),
        format!("format        {} (GGUF {})", info.format, info.version),
        format!("weights       {} in {} tensors", info.parameters, info.tensors),
        format!("size          {} bytes", info.bytes),
        format!("context       {} tokens", info.context),
        format!("vocabulary    {} tokens", info.vocab),
    ];
    lines.extend(sha256.as_ref().map(|sum| format!("sha256        {sum}")));
    lines.join("\n")
}
