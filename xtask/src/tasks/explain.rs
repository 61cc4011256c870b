//! `batch:explain`.

use std::path::{Path, PathBuf};
use std::process::{ExitCode as Code, Stdio};
use std::time::Duration;

use dialtone_contract::wire::EntryDetail;
use dialtone_contract::{EntryId, ErrorCode, ExitCode, Problem};
use dialtone_harness::http::Http;

use crate::{console, place};

/// Where `dev` serves, and `dialtone serve` unless told otherwise.
const USUAL: &str = "http://127.0.0.1:8000";
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long it may take to find out that no server runs.
const LOOK: Duration = Duration::from_secs(2);

/// Flags of `batch:explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The entry, `ent_..`, as a listing of its batch shows it.
    entry: String,
    /// The server to ask. Without it: the one on port 8000, or, if none runs there, the data of
    /// the latest run that kept it.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Read the data in this folder instead.
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    data_dir: Option<PathBuf>,
    /// Print JSON instead of lines.
    #[arg(long)]
    json: bool,
}

/// Why there is nothing to tell, and with which code that ends.
struct Silent {
    text: String,
    hint: &'static str,
    exit: ExitCode,
}

/// Runs it.
pub async fn run(args: &Args) -> u8 {
    let told = match (&args.url, &args.data_dir) {
        (Some(url), _) => ask(args, url, ANSWER).await,
        (None, Some(dir)) => read(args, dir).await,
        (None, None) => match ask(args, USUAL, LOOK).await {
            Err(Silent { exit: ExitCode::NotReady, .. }) => {
                read(args, &place::base().join("runs/latest/data")).await
            }
            told => told,
        },
    };
    match told {
        Ok(text) => {
            console::print(&text, Code::SUCCESS);
            0
        }
        Err(Silent { text, hint, exit }) => {
            console::complain(&format!("error: {text}\n hint: {hint}\n"), Code::SUCCESS);
            exit.code()
        }
    }
}

/// Asks a running server.
async fn ask(args: &Args, base: &str, within: Duration) -> Result<String, Silent> {
    let key = EntryId::new(&*args.entry).key().map_err(|error| Silent {
        text: error.to_string(),
        hint: "an entry's id is like ent_0199a_149",
        exit: ExitCode::Usage,
    })?;
    let url = format!("{}/batch/{}/entries/{}", base.trim_end_matches('/'), key.batch, args.entry);
    let answer = Http::default().get(&url, &[], within).await.map_err(|error| Silent {
        text: error.to_string(),
        hint: "start a server there, or drop --url to read the latest run's data",
        exit: ExitCode::NotReady,
    })?;
    if !answer.status.is_success() {
        let problem = answer.problem().unwrap_or_else(|| Problem::new(ErrorCode::Internal, ""));
        let text = format!("{base} answered {}: {}", answer.status.as_u16(), problem.title);
        return Err(Silent { text, hint: problem.code.hint(), exit: ExitCode::CheckFailed });
    }
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    if args.json {
        return Ok(text + "\n");
    }
    let detail: EntryDetail = serde_json::from_str(&text).map_err(|error| Silent {
        text: format!("{base} answered what no dialtone of this version does: {error}"),
        hint: "use the cargo xtask of the server's version",
        exit: ExitCode::Environment,
    })?;
    Ok(detail.to_string())
}

/// Reads a store, with the `dialtone` beside this program.
async fn read(args: &Args, dir: &Path) -> Result<String, Silent> {
    let environment = |text, hint| Silent { text, hint, exit: ExitCode::Environment };
    if !dir.join("dialtone.db").is_file() {
        let text = format!("no server runs at {USUAL}, and there is no data in {}", dir.display());
        let hint = "give --url, or run the batch with --keep so that its data stays";
        return Err(environment(text, hint));
    }
    let here = std::env::current_exe().unwrap_or_default().with_file_name("dialtone");
    let mut command = tokio::process::Command::new(&here);
    command.arg("explain").arg(&args.entry).arg("--data-dir").arg(dir);
    if args.json {
        command.arg("--json");
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output().await;
    let output = output.map_err(|error| {
        let text = format!("{} cannot be run: {error}", here.display());
        environment(text, "build it: cargo build -p dialtone")
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let text = said.trim().trim_start_matches("Error: ").to_owned();
    let hint = "list the entries of the batch to see their ids";
    Err(Silent { text, hint, exit: ExitCode::CheckFailed })
}
