//! `cargo xtask`: the command line of the developer harness.
//!
//! A command is a file under `tasks/`; it reads its flags and hands over to `dialtone-harness`.
//! The exit codes are those of `dialtone_contract::ExitCode`; 101 is left to cargo.

mod build;
mod cli;
mod console;
mod ending;
mod menu;
mod place;
mod session;
mod tasks;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let command = match cli::parse(&args) {
        Ok(Some(command)) => command,
        Ok(None) => return console::print(&menu::text(), ExitCode::SUCCESS),
        Err(refusal) => return refusal.tell(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let text = format!("error: the async runtime cannot be started: {error}\n");
            return console::complain(&text, ExitCode::from(5));
        }
    };
    // A task of its own: a panic in it ends it and nothing else, so that the teardown can follow.
    let ended = runtime.block_on(async { tokio::spawn(tasks::run(command)).await });
    let code = match ended {
        Ok(code) => ExitCode::from(code),
        Err(panic) => ExitCode::from(runtime.block_on(session::after_panic(panic))),
    };
    // Reads that block, such as the one of a build's output, must not hold the exit back.
    runtime.shutdown_background();
    code
}
