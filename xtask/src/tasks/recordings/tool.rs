//! `lab` as a child that tells what it finds.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use dialtone_child::Signal;
use dialtone_child::process;
use dialtone_contract::{ErrorCode, ExitCode};
use dialtone_harness::failure::Failure;
use dialtone_harness::interrupt::Interrupt;
use dialtone_harness::run::Run;
use dialtone_harness::tool::Told;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long a tool that was told to end may take.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the tool to its end and records what it tells.
pub async fn follow(run: &Run, command: &mut Command, interrupt: &Interrupt) {
    if let Err(failure) = told(run, command, interrupt).await {
        run.error(failure);
    }
}

async fn told(run: &Run, command: &mut Command, interrupt: &Interrupt) -> Result<(), Failure> {
    // Its stdin ends with this process, however that ends, and the tool with it.
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let cannot = |error| Failure::environment(format!("lab cannot be run: {error}"));
    let mut child = command.spawn().map_err(cannot)?;
    // `wait` would close it.
    let _lifeline = child.stdin.take();
    let Some(stdout) = child.stdout.take() else { return Ok(()) };
    let mut lines = BufReader::new(stdout).lines();
    let mut whole = false;
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line.map_err(cannot)?,
            asked = interrupt.wait() => {
                end(&mut child).await;
                return Err(asked.failure());
            }
        };
        let Some(line) = line else { break };
        match serde_json::from_str::<Told>(&line) {
            Ok(told) => whole |= run.take(told),
            Err(error) => {
                let said: String = line.chars().take(200).collect();
                return Err(Failure::new(
                    ErrorCode::Internal,
                    format!("lab cannot be read: {error}"),
                )
                .evidence([said]));
            }
        }
    }
    let status = child.wait().await.map_err(cannot)?;
    if whole && status.success() { Ok(()) } else { Err(broke_off(status)) }
}

fn broke_off(status: ExitStatus) -> Failure {
    if status.code() == Some(i32::from(ExitCode::Usage.code())) {
        return Failure::new(ErrorCode::Usage, "lab does not take a value of the command line")
            .hint("read what it said above");
    }
    Failure::new(ErrorCode::ChildExited, format!("lab broke off: {status}"))
        .hint("read what it said above")
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
