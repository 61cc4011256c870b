//! A service of no use, for the harness's own tests: it answers health questions, or misbehaves as
//! its first argument says.

use std::process::ExitCode;
use std::time::Duration;

use dialtone_serve::health::Health;
use dialtone_serve::{Limits, ListenArgs, listen, serve, shutdown_signal};

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let mode = args.next().unwrap_or_default();
    let listen_fd: Vec<String> = args.filter(|arg| arg.contains('=')).collect();
    match mode.as_str() {
        "exits" => {
            (1..=30).for_each(|n| say(&format!("line {n}")));
            return ExitCode::from(7);
        }
        // Takes over nothing, answers nothing, and has to be killed.
        "deaf" => {
            let _term = shutdown_signal();
            std::future::pending::<()>().await;
        }
        _ => {}
    }
    let args = ListenArgs { listen_fd, ..ListenArgs::default() };
    let listener = match listen("health", &args) {
        Ok(listener) => listener,
        Err(error) => {
            say(&error.to_string());
            return ExitCode::from(5);
        }
    };
    let health = Health::start();
    match mode.as_str() {
        "never_ready" => health.not_ready("store", "the disk is on holiday"),
        "litters" => {
            let _ = std::fs::write(std::env::temp_dir().join("left.sock"), b"");
        }
        "dies_later" => {
            tokio::spawn(async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                std::process::exit(9);
            });
        }
        _ => {}
    }
    match serve(listener, health.routes(), Limits::default(), shutdown_signal()).await {
        Ok(_) if mode == "ends_badly" => ExitCode::from(4),
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(1),
    }
}

fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}
