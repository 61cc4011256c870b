use std::path::Path;
use std::time::Duration;

use crate::support::{json, run, text};

/// How long a file that is no model may take.
const SOON: Duration = Duration::from_secs(1);

/// Each is refused with this code, quickly, by `inspect` and by serving.
#[test]
fn a_file_that_is_no_model_is_refused_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let huge = [&b"GGUF\x03\0\0\0"[..], &[0xff; 7], &[0x7f], &[0xff; 7], &[0x7f]].concat();
    let cases = [
        (dir.path().join("absent.gguf"), "model_not_found"),
        (file("empty.gguf", b""), "model_invalid"),
        (file("junk.gguf", &[0x5a; 4096]), "model_invalid"),
        (file("short.gguf", b"GGUF\x03\0\0\0"), "model_invalid"),
        (file("huge.gguf", &huge), "model_invalid"),
        (dir.path().to_owned(), "model_invalid"),
    ];
    for (path, code) in &cases {
        inspected(path, code);
        served(path, code);
    }
}

fn inspected(path: &Path, code: &str) {
    let done = run(&["inspect", "--json", "--sha256", "--model", text(path)]);
    assert_eq!(done.code, Some(5), "{}: {}", path.display(), done.stderr);
    assert_eq!(json(&done.stdout)["code"], code, "{}", done.stdout);
    assert!(done.took < SOON, "{} took {:?}", path.display(), done.took);
}

fn served(path: &Path, code: &str) {
    let done = run(&["--port", "0", "--model", text(path)]);
    assert_eq!(done.code, Some(5), "{}: {}", path.display(), done.stderr);
    let said: Vec<_> = done.stderr.lines().filter(|line| line.starts_with("error[")).collect();
    assert_eq!(said.len(), 1, "{}", done.stderr);
    assert!(said[0].starts_with(&format!("error[{code}]: ")), "{}", said[0]);
    assert!(said[0].contains(text(path)), "{}", said[0]);
    assert!(done.took < SOON, "{} took {:?}", path.display(), done.took);
}
