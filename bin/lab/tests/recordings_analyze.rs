//! `lab recordings-analyze` on files, good and bad.

use std::fs;
use std::path::Path;
use std::process::Command;

use dialtone_contract::ErrorCode;
use dialtone_harness::envelope::CheckStatus;
use dialtone_harness::tool::Told;
use dialtone_recordings::Stereo;
use dialtone_recordings::truth::{Bank, Call, Condition, to_wav};

/// What the tool told, with these arguments, in this folder.
fn told(folder: &Path, arguments: &[&str]) -> Vec<Told> {
    let run_dir = folder.join("run");
    fs::create_dir_all(&run_dir).expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["recordings-analyze", "--run-dir"])
        .arg(&run_dir)
        .args(arguments)
        .current_dir(folder)
        .env_remove("OUT_CSV")
        .env_remove("RUN_TAG")
        .output()
        .expect("lab runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("a line"));
    let told: Vec<Told> = lines.collect();
    assert_eq!(told.last(), Some(&Told::Done));
    told
}

fn call(seed: u64) -> Stereo {
    Call::make(seed, Condition::Clean, &Bank::built_in()).audio
}

fn put(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    fs::write(folder.join(name), bytes).expect("written");
}

fn status(told: &[Told], name: &str) -> (CheckStatus, Option<ErrorCode>, String) {
    let check = told.iter().find_map(|told| match told {
        Told::Check(check) if check.name == name => Some(check),
        _ => None,
    });
    let check = check.unwrap_or_else(|| panic!("no check {name} in {told:?}"));
    (check.status, check.code, check.detail.clone())
}

fn metric(told: &[Told], name: &str) -> Option<f64> {
    told.iter().find_map(|told| match told {
        Told::Metric { name: of, value } if of == name => Some(*value),
        _ => None,
    })
}

#[test]
fn a_folder_of_good_and_bad_files_is_gone_through_to_its_end() {
    let base = tempfile::tempdir().expect("a folder");
    let calls = base.path().join("calls");
    fs::create_dir_all(calls.join("more")).expect("a folder");
    let good = call(1);
    let sid = "RE0123456789abcdef0123456789abcdef";
    put(&calls, &format!("{sid}.wav"), to_wav(&good));
    put(&calls.join("more"), "cut.wav", &to_wav(&good)[..900_000]);
    put(&calls, "empty.wav", b"");
    put(&calls, "noise.mp3", b"\xff\xfb no sound");
    put(&calls, "notes.txt", b"not looked at");
    let mut mono = to_wav(&good);
    mono[22..24].copy_from_slice(&1_u16.to_le_bytes());
    put(&calls, "mono.wav", mono);
    let both = Stereo { right: good.left.clone(), ..good };
    put(&calls, "same.wav", to_wav(&both));
    let told = told(base.path(), &["calls", "nowhere.wav", "--vad", "webrtc"]);
    let passed = status(&told, &format!("{sid}.wav"));
    assert_eq!((passed.0, passed.1), (CheckStatus::Passed, None));
    assert_eq!(status(&told, "cut.wav").0, CheckStatus::Passed);
    for name in ["empty.wav", "noise.mp3", "nowhere.wav"] {
        let (status, code, why) = status(&told, name);
        assert_eq!(status, CheckStatus::Failed, "{name}");
        assert_eq!(code, Some(ErrorCode::AudioUnreadable), "{name}: {why}");
    }
    for name in ["mono.wav", "same.wav"] {
        let (status, code, _) = status(&told, name);
        assert_eq!((status, code), (CheckStatus::Skipped, Some(ErrorCode::AudioMono)), "{name}");
    }
    assert_eq!(metric(&told, "recordings"), Some(7.0));
    assert_eq!(metric(&told, "recordings_analyzed"), Some(2.0));
    let warned = |what: &str| {
        told.iter().any(|told| matches!(told, Told::Warning { text } if text.contains(what)))
    };
    assert!(warned("cut.wav: it ends before its header says"), "{told:?}");
    let csv = fs::read_to_string(base.path().join("latency.csv")).expect("the CSV file");
    let mut lines = csv.lines();
    assert_eq!(
        lines.next(),
        Some(
            "recording_sid,call_sid,rtt_ms,file,turn,kind,caller_start_s,caller_end_s,\
             agent_start_s,agent_end_s,confidence,snr_db"
        )
    );
    let turns = metric(&told, "turns").expect("turns");
    assert!(turns > 8.0);
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len() as f64, turns);
    assert!(rows.iter().all(|row| row.len() == 12));
    assert!(rows.iter().any(|row| row[0] == sid && row[4] == "1" && row[1].is_empty()));
    for file in ["latency.csv", "recordings.json", "report.html"] {
        assert!(base.path().join("run").join(file).is_file(), "{file}");
    }
    let json = fs::read(base.path().join("run/recordings.json")).expect("the document");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["recordings"].as_array().map(Vec::len), Some(2));
    assert_eq!(json["not_read"].as_array().map(Vec::len), Some(5));
}

#[test]
fn thresholds_are_held_against_what_was_found() {
    let base = tempfile::tempdir().expect("a folder");
    put(base.path(), "call.wav", to_wav(&call(3)));
    let limits = ["--threshold", "p(95)<60000", "--threshold", "med<1", "--threshold", "turns>0"];
    let told = told(base.path(), &[&["call.wav", "--vad=energy"], limits.as_slice()].concat());
    let judged: Vec<(&str, bool)> = told
        .iter()
        .filter_map(|told| match told {
            Told::Threshold(threshold) => Some((threshold.expr.as_str(), threshold.passed)),
            _ => None,
        })
        .collect();
    assert_eq!(judged, [("p(95)<60000", true), ("med<1", false), ("turns>0", true)]);
    assert!(metric(&told, "p95_ms") >= metric(&told, "p50_ms"));
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_read() {
    let base = tempfile::tempdir().expect("a folder");
    let failure = |arguments: &[&str]| {
        let told = told(base.path(), arguments);
        let code = told.iter().find_map(|told| match told {
            Told::Failure { code, .. } => Some(*code),
            _ => None,
        });
        assert_eq!(told.len(), 2, "{told:?}");
        code
    };
    assert_eq!(failure(&["--threshold", "p95<600"]), Some(ErrorCode::Usage));
    assert_eq!(failure(&["--threshold", "p(95)<soon"]), Some(ErrorCode::Usage));
    fs::create_dir(base.path().join("nothing")).expect("a folder");
    assert_eq!(failure(&["nothing"]), Some(ErrorCode::NoRecordings));
}

#[test]
fn calls_are_made_up_where_there_are_none() {
    let base = tempfile::tempdir().expect("a folder");
    let told = told(base.path(), &["--vad", "webrtc"]);
    assert_eq!(metric(&told, "recordings_analyzed"), Some(6.0));
    let text: String = told
        .iter()
        .filter_map(|told| match told {
            Told::Text { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert!(text.contains("against truth"), "{text}");
    assert!(text.lines().count() < 24, "{text}");
    // The newcomer's working directory stays as it is.
    assert!(!base.path().join("latency.csv").exists());
}
