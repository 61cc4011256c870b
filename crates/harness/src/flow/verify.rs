//! Asking `dialtone verify` to recount every invariant from rows.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use dialtone_child::RUN_ENV;
use dialtone_contract::ErrorCode;
use tokio::process::Command;

use crate::failure::Failure;
use crate::invariant::Verified;
use crate::run_dir::{DATA, RunDir};

/// How long the recount may take.
const RECOUNT: Duration = Duration::from_secs(120);

/// Recounts the batch. Runs when the server is down, as nothing else may own the data then.
///
/// # Errors
/// If there is no answer that can be read.
pub async fn recount(dialtone: &Path, batch: &str, dir: &RunDir) -> Result<Verified, Failure> {
    let mut command = Command::new(dialtone);
    command
        .args(["verify", "--batch", batch, "--json", "--data-dir"])
        .arg(dir.join(DATA))
        .env(RUN_ENV, dir.run_id())
        // The batch is in the data folder, whatever else there is.
        .env_remove("DATABASE_URL")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let cannot = |why: String| {
        Failure::new(ErrorCode::CheckFailed, format!("`dialtone verify` gave no answer: {why}"))
            .hint("run it by hand on the data folder of the run")
    };
    let answer = match tokio::time::timeout(RECOUNT, command.output()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(cannot(error.to_string())),
        Err(_) => return Err(cannot(format!("it took longer than {} s", RECOUNT.as_secs()))),
    };
    let incomplete = |why: String| {
        let talk = String::from_utf8_lossy(&answer.stderr).into_owned();
        let lines: Vec<String> = talk.lines().map(ToOwned::to_owned).collect();
        let last = lines.len().saturating_sub(10);
        cannot(format!("{}, {why}", answer.status)).evidence(lines[last..].to_vec())
    };
    let verified: Verified =
        serde_json::from_slice(&answer.stdout).map_err(|error| incomplete(error.to_string()))?;
    match verified.incomplete(answer.status.success()) {
        Some(why) => Err(incomplete(why)),
        None => Ok(verified),
    }
}
