//! Recordings of a tagged run, from a stand-in for Twilio to the rows of the CSV file.

#[path = "support/server.rs"]
mod server;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use dialtone_recordings::truth::{Bank, Call, Condition, to_wav};
use serde_json::{Value, json};
use server::{Answer, Server};
use tempfile::TempDir;

const SID: &str = "AC0123456789abcdef0123456789abcdef";
const TOKEN: &str = "a-token-that-nobody-may-see";

fn re(n: u32) -> String {
    format!("RE{n:032}")
}

fn ca(n: u32) -> String {
    format!("CA{n:032}")
}

/// An account with one conference of this name, whose calls were recorded.
fn twilio(name: &'static str) -> Server {
    let account = format!("/2010-04-01/Accounts/{SID}/");
    let call = Call::make(1, Condition::Clean, &Bank::built_in());
    let sound = to_wav(&call.audio);
    let conference = format!("CF{}", "c".repeat(32));
    Server::start(move |_, asked| {
        let Some(path) = asked.path.strip_prefix(&account) else {
            return Answer::status("404 Not Found");
        };
        let document = |document: Value| Answer::whole(document.to_string().as_bytes());
        if path.starts_with("Conferences.json") {
            let named = path.ends_with(&format!("FriendlyName={name}"));
            let found = if named { vec![json!({ "sid": conference })] } else { Vec::new() };
            return document(json!({ "conferences": found, "next_page_uri": null }));
        }
        if path.starts_with(&format!("Conferences/{conference}/Recordings.json")) {
            let recording = |n, status| json!({ "sid": re(n), "call_sid": ca(n), "status": status, "error_code": 16101 });
            let recordings = [recording(1, "completed"), recording(2, "absent")];
            return document(json!({ "recordings": recordings, "next_page_uri": null }));
        }
        if path == format!("Recordings/{}.wav?RequestedChannels=2", re(1)) {
            return Answer::whole(&sound);
        }
        Answer::status("404 Not Found")
    })
}

/// `lab recordings-analyze --source twilio` with nothing of Twilio's in its environment.
fn command(server: &Server, dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command
        .args(["recordings-analyze", "--source", "twilio", "--vad", "energy", "--twilio-url"])
        .arg(&server.url)
        .arg("--run-dir")
        .arg(dir)
        .arg("--cache")
        .arg(dir.join("cache"))
        .current_dir(dir)
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null());
    for name in [
        "TWILIO_ACCOUNT_SID",
        "TWILIO_AUTH_TOKEN",
        "TWILIO_AUTH_TOKEN_FILE",
        "TWILIO_BASE_URL",
        "RUN_TAG",
        "OUT_CSV",
    ] {
        command.env_remove(name);
    }
    command
}

fn signed_in(server: &Server, dir: &Path) -> Command {
    let mut command = command(server, dir);
    command.env("TWILIO_ACCOUNT_SID", SID).env("TWILIO_AUTH_TOKEN", TOKEN);
    command
}

/// What it told, line by line.
fn told(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect()
}

fn failures(output: &Output) -> Vec<String> {
    let code = |told: &Value| {
        (told["told"] == "failure").then(|| told["code"].as_str().unwrap_or_default().to_owned())
    };
    told(output).iter().filter_map(code).collect()
}

#[test]
fn a_tagged_run_becomes_rows_with_its_sids() {
    let (server, dir) = (twilio("night"), TempDir::new().expect("a folder"));
    let output = signed_in(&server, dir.path()).args(["--tag", "night"]).output().expect("it runs");
    assert_eq!(failures(&output), Vec::<String>::new(), "{output:?}");
    let rows = fs::read_to_string(dir.path().join("latency.csv")).expect("rows");
    let mut lines = rows.lines();
    assert!(
        lines.next().is_some_and(|head| head.starts_with("recording_sid,call_sid,rtt_ms,file,"))
    );
    let rest: Vec<&str> = lines.collect();
    assert!(rest.len() > 4, "{rows}");
    for row in rest {
        assert!(row.starts_with(&format!("{},{},", re(1), ca(1))), "{row}");
        assert!(row.contains(&format!("{}.wav", re(1))), "{row}");
    }
    let all = String::from_utf8(output.stdout).expect("text");
    assert!(all.contains("1 conferences of that name"), "{all}");
    assert!(all.contains("too short"), "{all}");
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_default() {
    let (server, dir) = (twilio("night"), TempDir::new().expect("a folder"));
    let by_environment =
        signed_in(&server, dir.path()).env("RUN_TAG", "night").output().expect("it runs");
    assert_eq!(failures(&by_environment), Vec::<String>::new(), "{by_environment:?}");
    let by_flag = signed_in(&server, dir.path())
        .env("RUN_TAG", "night")
        .args(["--tag", "other"])
        .output()
        .expect("it runs");
    assert_eq!(failures(&by_flag), ["no_recordings"]);
    let by_default = signed_in(&server, dir.path()).output().expect("it runs");
    assert_eq!(failures(&by_default), ["no_recordings"]);
    assert!(String::from_utf8_lossy(&by_default.stdout).contains("loadtest"));
}

#[test]
fn what_is_missing_is_named_and_the_token_never() {
    let (server, dir) = (twilio("night"), TempDir::new().expect("a folder"));
    let half =
        command(&server, dir.path()).env("TWILIO_ACCOUNT_SID", SID).output().expect("it runs");
    assert_eq!(failures(&half), ["twilio_credentials"]);
    let said = String::from_utf8_lossy(&half.stdout).into_owned();
    assert!(said.contains("TWILIO_AUTH_TOKEN: missing"), "{said}");
    assert!(said.contains("TWILIO_ACCOUNT_SID: found"), "{said}");
    assert!(server.asked().is_empty(), "nobody was asked");

    let whole = signed_in(&server, dir.path()).args(["--tag", "night"]).output().expect("it runs");
    for stream in [&whole.stdout, &whole.stderr] {
        assert!(!String::from_utf8_lossy(stream).contains(TOKEN));
    }
    for entry in fs::read_dir(dir.path()).expect("the run's folder").flatten() {
        let Ok(bytes) = fs::read(entry.path()) else { continue };
        let found = bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes());
        assert!(!found, "{}", entry.path().display());
    }
}
