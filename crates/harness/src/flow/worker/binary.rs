//! Asking the `llm-worker` binary about itself and about a model, before a worker is started.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use dialtone_child::RUN_ENV;
use dialtone_contract::ErrorCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::process::Command;

use super::backend::Offer;
use crate::failure::Failure;
use crate::span;

/// Lines of what it said that a failure shows.
const LAST_LINES: usize = 10;

/// What `llm-worker inspect --json` says of a model; only what is read here.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ModelInfo {
    /// The model's name.
    pub name: String,
    /// `llama`, `qwen2`, ...
    pub architecture: String,
    /// Version of the GGUF format.
    pub version: u32,
    /// How many tensors.
    pub tensors: u64,
    /// Size of the file.
    pub bytes: u64,
    /// The format of most weights: `Q4_1`, ...
    pub format: String,
    /// Tokens of the longest sequence.
    pub context: u64,
    /// Checksum of the file.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// What a command of the binary says when it fails; only what is read here.
#[derive(Deserialize)]
struct Told {
    code: ErrorCode,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    hint: String,
}

/// A binary that can be asked.
pub struct Binary<'a> {
    /// It.
    pub program: &'a Path,
    /// The run that it is asked in.
    pub run_id: &'a str,
    /// How long an answer may take.
    pub within: Duration,
}

impl Binary<'_> {
    /// The backends that it has, and their devices.
    ///
    /// # Errors
    /// If it does not say.
    pub async fn backends(&self) -> Result<Vec<Offer>, Failure> {
        self.ask(&["backends", "--json"], ErrorCode::Environment).await
    }

    /// What there is to know of a model without loading it.
    ///
    /// # Errors
    /// If it cannot be used, with the binary's own code.
    pub async fn inspect(&self, model: &str) -> Result<ModelInfo, Failure> {
        let args = ["inspect", "--model", model, "--sha256", "--json"];
        let info: ModelInfo = self.ask(&args, ErrorCode::ModelInvalid).await?;
        let whole = |sum: &String| sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit());
        if info.sha256.as_ref().is_some_and(whole) {
            return Ok(info);
        }
        let message = format!("`llm-worker inspect` gave no sha256 of {model}");
        Err(Failure::new(ErrorCode::WrongAnswer, message).exit(ErrorCode::Environment.exit()))
    }

    async fn ask<T: DeserializeOwned>(&self, args: &[&str], code: ErrorCode) -> Result<T, Failure> {
        let verb = args[0];
        let cannot = |why: String| Failure::new(code, format!("`llm-worker {verb}` {why}"));
        let mut command = Command::new(self.program);
        command.args(args).env(RUN_ENV, self.run_id).stdin(Stdio::null()).kill_on_drop(true);
        let answer = match tokio::time::timeout(self.within, command.output()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let text = format!("{} cannot be run: {error}", self.program.display());
                return Err(Failure::environment(text));
            }
            Err(_) => {
                let why = format!("gave no answer within {}", span::human(self.within));
                return Err(cannot(why).hint("look whether the disk is slow, or raise --timeout"));
            }
        };
        if !answer.status.success() {
            if let Ok(told) = serde_json::from_slice::<Told>(&answer.stdout) {
                return Err(failure(told));
            }
            return Err(cannot(format!("failed: {}", answer.status)).evidence(talk(&answer)));
        }
        serde_json::from_slice(&answer.stdout).map_err(|error| {
            cannot(format!("gave an answer that cannot be read: {error}")).evidence(talk(&answer))
        })
    }
}

fn failure(told: Told) -> Failure {
    let Told { code, detail, hint } = told;
    let detail = if detail.is_empty() { code.title().to_owned() } else { detail };
    // The registry's exit code is that of a harness command, whatever the binary ended with.
    let failure = Failure::new(code, detail);
    if hint.is_empty() { failure } else { failure.hint(hint) }
}

fn talk(answer: &Output) -> Vec<String> {
    let text = [answer.stdout.as_slice(), answer.stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].to_vec()
}
