use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use dialtone_auth::Secret;
use tempfile::TempDir;

use super::*;

const SID: &str = "AC0123456789abcdef0123456789abcdef";
const SOUND: &[u8] = b"RIFF as it were";

/// What the mock answers.
struct Answer {
    status: u16,
    headers: &'static str,
    body: Vec<u8>,
    /// Bytes that the head claims beyond those that come.
    owed: usize,
}

impl Answer {
    fn json(body: &serde_json::Value) -> Self {
        Self { status: 200, headers: "", body: body.to_string().into_bytes(), owed: 0 }
    }

    fn status(status: u16) -> Self {
        Self { status, headers: "", body: b"{}".to_vec(), owed: 0 }
    }

    fn sound() -> Self {
        Self { status: 200, headers: "", body: SOUND.to_vec(), owed: 0 }
    }
}

/// A stand-in for Twilio: paths behind the account, and how often each was asked for.
struct Mock {
    base: String,
    asked: Arc<Mutex<Vec<String>>>,
    dir: TempDir,
}

impl Mock {
    /// `answer` gets the path with its query, and how often it was asked for before.
    fn start(answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (asked.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (log.clone(), answer.clone());
                thread::spawn(move || serve(stream, &log, &*answer));
            }
        });
        Self { base, asked, dir: tempfile::tempdir().unwrap() }
    }

    fn args(&self) -> Args {
        Args {
            tag: "night".to_owned(),
            manifest: None,
            since: None,
            until: None,
            account_sid: None,
            auth_token_file: None,
            twilio_url: self.base.clone(),
            cache: self.dir.path().join("cache"),
            wait: 0,
        }
    }

    fn fetch(&self, args: &Args) -> Result<Run, Failure> {
        let account = Account::new(SID.to_owned(), Secret::new("hunter2"), &self.base)?;
        fetch_with(&Client::new(account, Duration::from_millis(1)), args)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<String>>,
    answer: &dyn Fn(&str, usize) -> Answer,
) -> Option<()> {
    let mut head = BufReader::new(stream.try_clone().ok()?).lines();
    let first = head.next()?.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut signed_in = false;
    for line in head {
        let line = line.ok()?;
        // AC0123456789abcdef0123456789abcdef:hunter2
        let expected = "Basic QUMwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjpodW50ZXIy";
        signed_in |= line.to_lowercase().starts_with("authorization:") && line.ends_with(expected);
        if line.is_empty() {
            break;
        }
    }
    let path = path.strip_prefix(&format!("/2010-04-01/Accounts/{SID}/"))?.to_owned();
    let before = {
        let mut log = log.lock().unwrap();
        log.push(path.clone());
        log.iter().filter(|earlier| **earlier == path).count() - 1
    };
    let answer = if signed_in { answer(&path, before) } else { Answer::status(401) };
    let Answer { status, headers, body, owed } = answer;
    let length = body.len() + owed;
    let head = format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&body).ok()?;
    stream.shutdown(std::net::Shutdown::Write).ok()?;
    let _ = stream.read_to_end(&mut Vec::new());
    Some(())
}

fn re(n: u32) -> String {
    format!("RE{n:032}")
}

fn ca(n: u32) -> String {
    format!("CA{n:032}")
}

fn recording(n: u32, status: &str) -> serde_json::Value {
    serde_json::json!({
        "sid": re(n), "call_sid": ca(n), "status": status, "channels": 2, "duration": "12",
        "error_code": (status == "absent").then_some(16102), "encryption_details": null,
    })
}

fn recordings(items: &[serde_json::Value], next: Option<&str>) -> Answer {
    Answer::json(&serde_json::json!({ "recordings": items, "next_page_uri": next }))
}

fn no_conferences() -> Answer {
    Answer::json(&serde_json::json!({ "conferences": [], "next_page_uri": null }))
}

/// Recordings by date: these.
fn dated(items: Vec<serde_json::Value>) -> impl Fn(&str, usize) -> Answer + Send + Sync {
    move |path, _| match path {
        path if path.starts_with("Conferences.json") => no_conferences(),
        path if path.starts_with("Recordings.json") => recordings(&items, None),
        _ => Answer::sound(),
    }
}

fn since(mock: &Mock) -> Args {
    Args { since: Some("2026-11-01".to_owned()), ..mock.args() }
}

fn sids(run: &Run) -> Vec<&str> {
    run.fetched.iter().map(|fetched| fetched.recording_sid.as_str()).collect()
}

#[test]
fn a_manifest_comes_first_and_each_call_is_asked_for() {
    let mock = Mock::start(|path, _| match path {
        path if path.contains(&format!("CallSid={}", ca(1))) => {
            recordings(&[recording(1, "completed")], None)
        }
        path if path.contains(&format!("CallSid={}", ca(2))) => {
            recordings(&[recording(2, "completed"), recording(1, "completed")], None)
        }
        path if path.contains("RequestedChannels=2") => Answer::sound(),
        _ => Answer::status(400),
    });
    let manifest = mock.dir.path().join("calls.csv");
    fs::write(&manifest, format!("night,{}\nday,{}\nnight,{}\n", ca(1), ca(3), ca(2))).unwrap();
    let run = mock.fetch(&Args { manifest: Some(manifest), ..mock.args() }).unwrap();
    assert_eq!(sids(&run), [re(1), re(2)]);
    assert_eq!(run.found_by, "the manifest's 2 calls");
    let first = &run.fetched[0];
    assert_eq!(fs::read(&first.path).unwrap(), SOUND);
    assert_eq!(first.call_sid.as_deref(), Some(ca(1).as_str()));
}

#[test]
fn conferences_come_second_and_all_pages_are_read() {
    let next = format!("/2010-04-01/Accounts/{SID}/Conferences.json?Page=1&PageToken=x");
    let conference = format!("CF{}", "c".repeat(32));
    let of = conference.clone();
    let mock = Mock::start(move |path, _| match path {
        "Conferences.json?PageSize=1000&FriendlyName=night" => {
            Answer::json(&serde_json::json!({ "conferences": [], "next_page_uri": next }))
        }
        "Conferences.json?Page=1&PageToken=x" => Answer::json(
            &serde_json::json!({ "conferences": [{ "sid": of }], "next_page_uri": null }),
        ),
        path if path.starts_with(&format!("Conferences/{of}/Recordings.json")) => {
            recordings(&[recording(4, "completed")], None)
        }
        path if path.contains("RequestedChannels=2") => Answer::sound(),
        _ => Answer::status(400),
    });
    let run = mock.fetch(&mock.args()).unwrap();
    assert_eq!(sids(&run), [re(4)]);
    assert_eq!(run.found_by, "1 conferences of that name");
    assert!(mock.asked().iter().any(|path| path.contains(&conference)));
}

#[test]
fn dates_come_last_and_only_if_they_are_given() {
    let mock = Mock::start(dated(vec![recording(5, "completed")]));
    let failure = mock.fetch(&mock.args()).unwrap_err();
    assert_eq!(failure.code, ErrorCode::NoRecordings);
    assert_eq!(failure.tried.len(), 3, "{failure:?}");
    // Not one recording of somebody else's run was asked for.
    assert!(mock.asked().iter().all(|path| path.starts_with("Conferences.json")));
    let args = Args { until: Some("2026-11-03".to_owned()), ..since(&mock) };
    let run = mock.fetch(&args).unwrap();
    assert_eq!(sids(&run), [re(5)]);
    assert!(run.found_by.contains("dates alone (2026-11-01..2026-11-03)"), "{}", run.found_by);
    let filters = "&DateCreated%3E=2026-11-01&DateCreated%3C=2026-11-03";
    assert!(mock.asked().iter().any(|path| path.ends_with(filters)), "{:?}", mock.asked());
}

#[test]
fn what_cannot_be_had_is_left_out_with_its_reason() {
    let mut encrypted = recording(3, "completed");
    encrypted["encryption_details"] = serde_json::json!({ "public_key_sid": "CR1" });
    let items = vec![
        recording(1, "absent"),
        recording(2, "deleted"),
        encrypted,
        recording(4, "processing"),
        recording(5, "completed"),
        recording(6, "completed"),
    ];
    let mock = Mock::start(move |path, before| match path {
        path if path.starts_with(&format!("Recordings/{}.wav", re(5))) => Answer::status(404),
        path => dated(items.clone())(path, before),
    });
    let run = mock.fetch(&since(&mock)).unwrap();
    assert_eq!(sids(&run), [re(6)]);
    let why: HashMap<String, String> = run.left_out.into_iter().collect();
    for (n, word) in
        [(1, "silent"), (2, "deleted"), (3, "encrypted"), (4, "processing"), (5, "404")]
    {
        assert!(why[&re(n)].contains(word), "{n}: {why:?}");
    }
}

#[test]
fn one_that_is_processing_is_waited_for() {
    let mock = Mock::start(|path, before| match path {
        path if path == format!("Recordings/{}.json", re(1)) => {
            Answer::json(&recording(1, "completed"))
        }
        path => dated(vec![recording(1, "processing")])(path, before),
    });
    let run = mock.fetch(&Args { wait: 1, ..since(&mock) }).unwrap();
    assert_eq!(sids(&run), [re(1)]);
}

#[test]
fn it_is_asked_again_after_404_429_5xx_and_half_an_answer() {
    let mock = Mock::start(|path, before| {
        if path.starts_with("Recordings/") {
            return match before {
                0 => Answer::status(404),
                1 => Answer::status(503),
                2 => Answer { owed: 5, ..Answer::sound() },
                _ => Answer::sound(),
            };
        }
        match (path.starts_with("Recordings.json"), before) {
            (true, 0) => Answer { headers: "Retry-After: 0\r\n", ..Answer::status(429) },
            _ => dated(vec![recording(1, "completed")])(path, before),
        }
    });
    let run = mock.fetch(&since(&mock)).unwrap();
    assert_eq!(sids(&run), [re(1)], "{run:?}");
    assert_eq!(fs::read(&run.fetched[0].path).unwrap(), SOUND);
    let sound = |path: &&String| path.starts_with("Recordings/");
    assert_eq!(mock.asked().iter().filter(sound).count(), 4);
}

#[test]
fn one_that_never_comes_stops_no_other() {
    let mock = Mock::start(|path, before| match path {
        path if path.starts_with(&format!("Recordings/{}", re(1))) => Answer::status(500),
        path => dated(vec![recording(1, "completed"), recording(2, "completed")])(path, before),
    });
    let run = mock.fetch(&since(&mock)).unwrap();
    assert_eq!(sids(&run), [re(2)]);
    assert!(run.left_out[0].1.contains("500"), "{run:?}");
}

#[test]
fn what_is_here_is_not_fetched_again() {
    let mock = Mock::start(dated(vec![recording(1, "completed")]));
    assert!(!mock.fetch(&since(&mock)).unwrap().fetched[0].cached);
    assert!(mock.fetch(&since(&mock)).unwrap().fetched[0].cached);
    let sounds = mock.asked().iter().filter(|path| path.starts_with("Recordings/")).count();
    assert_eq!(sounds, 1);
    // Nothing half is left, and nobody else may listen.
    let cache = mock.dir.path().join("cache");
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&cache) & 0o077, 0);
        assert_eq!(mode(&cache.join(format!("{}.wav", re(1)))) & 0o077, 0);
    }
}

#[test]
fn wrong_credentials_are_said_at_once_and_without_the_token() {
    let mock = Mock::start(dated(Vec::new()));
    let account = Account::new(SID.to_owned(), Secret::new("wrong-one"), &mock.base).unwrap();
    let client = Client::new(account, Duration::from_millis(1));
    let failure = fetch_with(&client, &mock.args()).unwrap_err();
    assert_eq!(failure.code, ErrorCode::TwilioCredentials);
    assert!(!failure.to_text().contains("wrong-one"));
    assert_eq!(mock.asked().len(), 1);
}

#[test]
fn a_next_page_elsewhere_or_in_a_circle_is_refused() {
    for next in ["https://evil.example/x", "//evil.example/x"] {
        let mock = Mock::start(move |path, _| match path {
            path if path.starts_with("Conferences.json") => no_conferences(),
            _ => recordings(&[], Some(next)),
        });
        let failure = mock.fetch(&since(&mock)).unwrap_err();
        assert!(failure.message.contains("elsewhere"), "{failure}");
    }
    let circle = format!("/2010-04-01/Accounts/{SID}/Recordings.json?Page=1");
    let mock = Mock::start(move |path, _| match path {
        path if path.starts_with("Conferences.json") => no_conferences(),
        _ => recordings(&[], Some(&circle)),
    });
    let failure = mock.fetch(&since(&mock)).unwrap_err();
    assert!(failure.message.contains("do not end"), "{failure}");
}
