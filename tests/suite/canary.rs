//! One run with a canary for every secret and number, through everything that there is, and
//! then a search for each of them wherever the platform has left a trace.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use dialtone_auth::Secret;
use dialtone_auth::livekit::ApiKey;
use dialtone_contract::wire::BatchStatus;
use dialtone_tests::wait::{soon, within};
use dialtone_tests::{Canaries, EventStream, Hands, Leak, Manner, Receiver, Rig, Setup, TestBatch};
use hyper::Method;
use serde_json::{Value, json};
use tokio::process::Command;

const BATCH: Duration = Duration::from_secs(60);

const PLATFORM: &str = "canary-of-the-platform-0123456789abcdef";
const LIVEKIT: &str = "canary-of-livekit-0123456789abcdef";
const IN_URL: &str = "canary-in-the-url-of-a-webhook";
const KEY_NAME: &str = "APIcanary";

/// Numbers to call: completed, failed, opted out, never answered by an agent, suppressed.
const CALLED: [&str; 5] =
    ["+491577900101", "+491577900102", "+491577900103", "+491577900104", "+491577900105"];
/// Numbers in rows and requests that are refused.
const REFUSED: &str = "491577900999";
/// The tenant's own number, which calls come from.
const OWN: &str = "+493057790077";

/// The API with a key, and everything that it has answered.
struct Client<'a> {
    rig: &'a Rig,
    key: String,
    said: Vec<(String, String)>,
}

impl Client<'_> {
    async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Value {
        let bearer = format!("Bearer {}", self.key);
        let mut headers = headers.to_vec();
        if headers.iter().all(|(name, _)| *name != "authorization") {
            headers.push(("authorization", &bearer));
        }
        let sent =
            self.rig.api.send(method.clone(), path, &headers, Some(Bytes::from(body.to_owned())));
        let answer = sent.await.expect("an answer");
        let head: Vec<_> = ["location", "link", "etag", "content-disposition"]
            .into_iter()
            .filter_map(|name| answer.header(name).map(str::to_owned))
            .collect();
        let text = format!("{}\n{}", head.join("\n"), answer.text());
        self.said.push((format!("the answer {} to {method} {path}", answer.status()), text));
        serde_json::from_str(&answer.text()).unwrap_or_default()
    }

    async fn get(&mut self, path: &str) -> Value {
        self.send(Method::GET, path, &[], "").await
    }

    async fn post(&mut self, path: &str, body: &Value) -> Value {
        let json = [("content-type", "application/json")];
        self.send(Method::POST, path, &json, &body.to_string()).await
    }

    /// A command of the platform, given the same secrets as the server.
    async fn command(&mut self, arguments: &[&str]) -> String {
        let mut command = Command::new(dialtone_tests::bins().join("dialtone"));
        command.args(arguments).arg("--data-dir").arg(self.rig.data_dir()).kill_on_drop(true);
        command.env("DIALTONE_SECRET", PLATFORM).env("RUST_LOG", "debug").env("NO_COLOR", "1");
        let output = soon("the command", command.output()).await.expect("run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        self.said.push((format!("the log of {arguments:?}"), log));
        text
    }

    /// As [`Self::command`], for one whose output is watched too.
    async fn shown(&mut self, arguments: &[&str]) {
        let text = self.command(arguments).await;
        assert!(!text.is_empty(), "{arguments:?} says nothing");
        self.said.push((format!("the output of {arguments:?}"), text));
    }

    async fn ended(&mut self, batch: &str) -> Value {
        let path = format!("/batch/batch-status/{batch}?wait=1s");
        for _ in 0..BATCH.as_secs() {
            let status = self.get(&path).await;
            if status["finished_at"].is_string() {
                return status;
            }
        }
        panic!("{batch} has not ended");
    }
}

fn setup() -> Setup {
    let mut setup = Setup::at(60).env("dialtone", "DIALTONE_SECRET", PLATFORM);
    for program in ["dialtone", "livekit-dev", "test-worker"] {
        setup = setup
            .env(program, "LIVEKIT_API_KEY", KEY_NAME)
            .env(program, "LIVEKIT_API_SECRET", LIVEKIT)
            .env(program, "RUST_LOG", "debug");
    }
    setup
}

/// Requests that are wrong, each with a number or a key where it does not belong.
async fn ask_wrongly(client: &mut Client<'_>) {
    let key = client.key.clone();
    let wrong = format!("Bearer {key}x");
    client.send(Method::GET, "/batch", &[("authorization", &wrong)], "").await;
    let path = format!("/batch?api_key={key}");
    client.get(&path).await;
    let plus = format!("+{REFUSED}");
    for path in [
        format!("/batch/batch-status/{plus}"),
        format!("/batch/{plus}/entries/{plus}"),
        format!("/batch/{plus}/events?entry_id={plus}"),
        format!("/batch?{plus}=1&cursor={plus}"),
        format!("/batch?limit={REFUSED}"),
        format!("/{plus}"),
    ] {
        client.get(&path).await;
    }
    client.send(Method::DELETE, &format!("/suppressions/{REFUSED}"), &[], "").await;
    let live = "/batch/trigger-batch-call";
    let entry =
        |to: &Value| json!({ "voice_id": "demo", "initiated_by": 1, "entries": [{ "to": to }] });
    let mut named = entry(&json!(plus));
    named["entries"][0][&plus] = json!(1);
    for body in [
        json!({ "voice_id": plus, "initiated_by": plus, "entries": [] }),
        json!({ "voice_id": plus, "initiated_by": 1, "entries": [{ "to": plus }] }),
        json!({ "voice_id": "demo", "initiated_by": 1, "from_number": REFUSED, "entries": [{ "to": plus }] }),
        json!({ "voice_id": "demo", "initiated_by": 1, plus.clone(): 1, "entries": [{ "to": plus }] }),
        json!({ "voice_id": "demo", "initiated_by": 1, "options": { "window": { "tz": plus } },
            "entries": [{ "to": plus }] }),
        entry(&json!(REFUSED)),
        entry(&json!(491_577_900_999_u64)),
        entry(&json!([plus])),
        named,
    ] {
        client.post(live, &body).await;
    }
    for body in [
        json!({ "numbers": [REFUSED] }),
        json!({ "numbers": [491_577_900_999_u64] }),
        json!({ "numbers": plus }),
        json!({ "numbers": [plus], plus.clone(): 1 }),
    ] {
        client.post("/suppressions", &body).await;
    }
    client.post("/batch/trigger-test-batch", &json!({ "voice_id": plus, "total": plus })).await;
    for (query, table) in [
        ("", format!("{plus},Ada\n{plus},Bob\n")),
        ("", format!("to,name\n\"{plus},Ada\n")),
        ("", format!("to,tz\n{REFUSED},Europe/Berlin\n{plus},{plus}\n{plus},a,b,c\n")),
        (&format!("&map={plus}:to"), format!("to\n{plus}\n")),
        (&format!("&map={plus}"), format!("to\n{plus}\n")),
    ] {
        let path = format!("{live}?voice_id=demo&initiated_by=1{query}");
        client.send(Method::POST, &path, &[("content-type", "text/csv")], &table).await;
    }
    let json = [("content-type", "application/json")];
    client.send(Method::POST, live, &json, &format!("{{\"entries\":[{{\"to\":{plus}}}]}}")).await;
}

/// A live batch with rows that are refused, served to its end; its id.
async fn live_batch(client: &mut Client<'_>, watched: &mut Canaries) -> String {
    let key = ApiKey { key: KEY_NAME.to_owned(), secret: Secret::new(LIVEKIT) };
    let mut agent = Hands::register_live_under(client.rig.livekit.api(), key).await;
    client.post("/suppressions", &json!({ "numbers": [CALLED[4]], "source": "a test" })).await;
    let mut entries: Vec<_> = CALLED.iter().map(|to| json!({ "to": to })).collect();
    let plus = format!("+{REFUSED}");
    entries.extend([
        json!({ "to": REFUSED }),
        json!({ "to": CALLED[0] }),
        json!({ "to": plus, "timezone": plus }),
        json!({ "to": plus, plus.clone(): 1 }),
        json!({ "to": plus, "variables": { plus.clone(): "\u{0}" } }),
    ]);
    let body = json!({ "voice_id": "demo", "initiated_by": 1, "from_number": OWN,
        "rejects": "report", "entries": entries });
    let taken = client.post("/batch/trigger-batch-call", &body).await;
    assert_eq!((&taken["accepted"], &taken["rejected"]), (&json!(5), &json!(5)), "{taken}");
    let batch = taken["batch_id"].as_str().expect("an id").to_owned();
    // Three that are served, and three attempts that nobody claims.
    for _ in 0..6 {
        let hand = agent.next().await;
        watched.add("a capability", hand.capability());
        let entry = hand.metadata().entry_id.to_string();
        if entry.ends_with("_4") {
            continue;
        }
        let claim = hand.claim().await;
        assert!(CALLED.contains(&claim["to"].as_str().expect("the number")));
        hand.status("in_call").await.ok();
        if entry.ends_with("_3") {
            hand.post("opt-out", &json!({})).await.ok();
        }
        let mut wrong = hand.callback("completed");
        wrong["reason"] = json!(5);
        let answer = hand.send_callback(&wrong).await;
        client.said.push(("the answer to a wrong callback".to_owned(), answer.text()));
        hand.report(if entry.ends_with("_2") { "failed" } else { "completed" }).await.ok();
    }
    let status = client.ended(&batch).await;
    assert_eq!((&status["completed_calls"], &status["failed_calls"]), (&json!(2), &json!(3)));
    agent.leave().await;
    batch
}

/// LiveKit goes away under a batch and comes back.
async fn outage(rig: &mut Rig, key: &str) {
    rig.livekit.kill().await;
    let batch = TestBatch::of(6, 0, 0, 0);
    let answer = rig.api.post("/batch/trigger-test-batch", Some(key), batch.json()).await;
    let id = answer.expect::<Value>(202)["batch_id"].as_str().expect("an id").to_owned();
    let status = async |wanted: fn(&BatchStatus) -> bool| {
        let bearer = format!("Bearer {key}");
        let path = format!("/batch/batch-status/{id}?wait=500ms");
        within(BATCH, "what a batch says of LiveKit", async || {
            let answer = rig.api.get_with(&path, &[("authorization", &bearer)]).await;
            let status: BatchStatus = answer.expect(200);
            if wanted(&status) { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
    };
    let noted = |status: &BatchStatus| {
        status.status_reason.as_deref().is_some_and(|reason| reason.starts_with("livekit: "))
    };
    status(noted).await;
    rig.livekit.restart().await;
    status(|status| status.status.is_terminal()).await;
}

/// Everything that users can read of the batches.
async fn read_all(client: &mut Client<'_>, batches: &[String]) {
    for path in ["/batch", "/batch?state=completed", "/suppressions", "/metrics", "/openapi.json"] {
        client.get(path).await;
    }
    for batch in batches {
        for path in ["entries", "report", "report.json", "report.csv", "rejects"] {
            client.get(&format!("/batch/{batch}/{path}")).await;
        }
        let entries = client.get(&format!("/batch/{batch}/entries")).await;
        for entry in entries["items"].as_array().expect("entries") {
            let entry = entry["entry_id"].as_str().expect("an id");
            client.get(&format!("/batch/{batch}/entries/{entry}")).await;
            client.shown(&["explain", entry]).await;
        }
        let path = format!("/batch/{batch}/events");
        let mut stream =
            EventStream::open_as(&client.rig.api, &path, None, Some(&client.key)).await;
        let events = stream.rest(BATCH).await;
        assert!(events.len() > 10, "{events:?}");
        client.said.push((format!("the events of {batch}"), format!("{events:?}")));
        client.shown(&["verify", "--batch", batch, "--json"]).await;
    }
    for arguments in [&["key", "list"][..], &["tenant", "list"], &["config", "show"]] {
        client.shown(arguments).await;
    }
    for process in [&client.rig.livekit, &client.rig.dialtone] {
        let text = process.api().get("/metrics").await.text();
        client.said.push((format!("/metrics of {}", process.name()), text));
    }
}

fn places(leaks: &[Leak], what: &str) -> BTreeSet<String> {
    leaks.iter().filter(|leak| leak.what == what).map(|leak| leak.place.clone()).collect()
}

fn set(places: &[&str]) -> BTreeSet<String> {
    places.iter().map(|place| (*place).to_owned()).collect()
}

/// Who holds which secret in its environment: `supervise` hands it on to its child.
fn check_environments(watched: &Canaries, run: &str) {
    let found = watched.in_environments(run);
    let programs = |what| places(&found, what);
    assert_eq!(
        programs("the platform's secret"),
        set(&["environ of dialtone", "environ of supervise"])
    );
    let with_livekit = ["dialtone", "livekit-dev", "supervise", "test-worker"]
        .map(|of| format!("environ of {of}"));
    assert_eq!(programs("LiveKit's secret"), with_livekit.into());
    let other: Vec<_> = found.iter().filter(|leak| !leak.what.ends_with("secret")).collect();
    assert_eq!(other, Vec::<&Leak>::new());
}

/// The one column with numbers to call is that which they are dialled from; the tenant's own
/// number and the URL of its webhook stand where the tenant has put them.
fn check_database(watched: &Canaries, path: &Path) {
    let found = watched.in_database(path);
    let numbers = set(&["batch_entries.phone"]);
    for to in CALLED {
        assert_eq!(places(&found, to), numbers, "{found:#?}");
    }
    assert_eq!(places(&found, "the tenant's own number"), set(&["voice_call_batches.spec"]));
    let urls = places(&found, "a webhook's URL");
    assert!(urls.is_subset(&set(&["webhooks.url", "voice_call_batches.spec", "outbox.item"])));
    let allowed = |leak: &&Leak| {
        CALLED.contains(&leak.what.as_str())
            || ["the tenant's own number", "a webhook's URL"].contains(&leak.what.as_str())
    };
    let other: Vec<_> = found.iter().filter(|leak| !allowed(leak)).collect();
    assert_eq!(other, Vec::<&Leak>::new(), "secrets and refused numbers in the database");
}

#[tokio::test]
async fn no_secret_and_no_number_is_left_where_it_does_not_belong() {
    setup()
        .run(async |rig| {
            let mut watched = Canaries::default();
            watched.add("the platform's secret", PLATFORM);
            watched.add("LiveKit's secret", LIVEKIT);
            watched.add("a webhook's URL", IN_URL);
            watched.add("a refused number", &REFUSED[2..]);
            watched.add("the tenant's own number", &OWN[3..]);
            CALLED.iter().for_each(|to| watched.add(to, &to[3..]));
            watched.add("a capability", "cap1.demo.");
            watched.add("a token of LiveKit", "eyJhbGciOi");

            let receiver = Receiver::start(Manner::Takes);
            let mut client = Client { rig, key: String::new(), said: Vec::new() };
            client.key =
                client.command(&["key", "add", "--tenant", "demo"]).await.trim().to_owned();
            watched.add("an API key", client.key.rsplit('_').next().expect("a secret"));
            let url = format!("{}?token={IN_URL}", receiver.url());
            let added = client.command(&["webhook", "add", "--url", &url]).await;
            let signing = added.lines().find_map(|line| line.trim().strip_prefix("signing key "));
            watched.add("a webhook's key", signing.expect("a key").trim());

            ask_wrongly(&mut client).await;
            let live = live_batch(&mut client, &mut watched).await;
            let batch = TestBatch::of(8, 2, 1, 1).with("/faults/lost_callback", 1).seed(3);
            let test = client.post("/batch/trigger-test-batch", batch.json()).await;
            let test = test["batch_id"].as_str().expect("an id").to_owned();
            client.ended(&test).await;
            read_all(&mut client, &[live, test]).await;
            check_environments(&watched, rig.run());
            let (key, said) = (client.key, client.said);
            outage(rig, &key).await;

            let mut leaks = watched.in_command_lines();
            for (place, text) in &said {
                leaks.extend(watched.in_bytes(place, text.as_bytes()));
            }
            let told = receiver.got();
            assert!(told.len() > 13, "{} webhooks", told.len());
            for got in told {
                leaks.extend(watched.in_bytes("the body of a webhook", &got.raw));
            }
            // Whoever asks with a key in the URL has it in his own logs; not in ours.
            let dir = rig.dir().to_owned();
            rig.dialtone.kill().await;
            check_database(&watched, &rig.data_dir().join("dialtone.db"));
            let of_database = |place: &str| place.contains("/data/dialtone.db");
            let files = watched.in_folder(&dir);
            leaks.extend(files.into_iter().filter(|leak| {
                let held = CALLED.contains(&leak.what.as_str())
                    || ["the tenant's own number", "a webhook's URL"].contains(&leak.what.as_str());
                !(held && of_database(&leak.place))
            }));
            assert!(said.len() > 60, "{} answers were looked at", said.len());
            assert!(rig.logs().len() > 10_000, "the logs say next to nothing");
            assert_eq!(leaks, [], "{leaks:#?}");
            rig.dialtone.restart().await;
        })
        .await;
}

/// The search finds what it is to find: in a log, in a file's name, in a column, in an
/// argument.
#[tokio::test]
async fn a_canary_that_is_planted_is_found() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = format!("planted-{}-canary", std::process::id());
    let mut watched = Canaries::default();
    watched.add("a planted text", &text);
    assert_eq!(watched.in_folder(dir.path()), []);
    let below = dir.path().join("data");
    std::fs::create_dir(&below).expect("made");
    std::fs::write(below.join("dialtone.log"), format!("INFO to={text} served\n"))
        .expect("written");
    std::fs::write(below.join(&text), "").expect("written");
    let path = below.join("dialtone.db");
    let store = rusqlite::Connection::open(&path).expect("a database");
    let sql = "CREATE TABLE call_events (type TEXT, reason TEXT, n INTEGER); \
               INSERT INTO call_events VALUES ('a', NULL, 1)";
    store.execute_batch(sql).expect("made");
    assert_eq!(watched.in_database(&path), []);
    store.execute("INSERT INTO call_events VALUES ('b', ?1, 2)", [&text]).expect("written");
    let found = places(&watched.in_database(&path), "a planted text");
    assert_eq!(found, set(&["call_events.reason"]));
    let found = places(&watched.in_folder(dir.path()), "a planted text");
    let ends: Vec<_> =
        ["dialtone.db", "dialtone.log"].iter().map(|name| below.join(name)).collect();
    assert!(ends.iter().all(|path| found.contains(&path.display().to_string())), "{found:?}");
    assert!(found.iter().any(|place| place.starts_with("the path ")), "{found:?}");
    assert_eq!(watched.in_command_lines(), []);
    let mut child = Command::new("sh");
    child.args(["-c", "read -r line", &text]).env("DIALTONE_RUN", &text).env("KEY", &text);
    let mut child =
        child.stdin(std::process::Stdio::piped()).kill_on_drop(true).spawn().expect("sh");
    within(BATCH, "the process to be seen", async || {
        let seen = watched.in_command_lines();
        if seen.is_empty() { Err("not seen".to_owned()) } else { Ok(()) }
    })
    .await;
    assert_eq!(places(&watched.in_environments(&text), "a planted text"), set(&["environ of sh"]));
    child.kill().await.expect("killed");
}
