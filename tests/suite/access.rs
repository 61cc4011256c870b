//! Tenants and API keys, through the command line and over HTTP.

use std::process::Output;
use std::time::Duration;

use dialtone_contract::{ErrorCode, limits};
use dialtone_tests::wait::soon;
use dialtone_tests::{Answer, EventStream, Rig, Setup, TestBatch, bins};
use hyper::Method;
use serde_json::json;
use tokio::process::Command;

/// One of the commands that change who may ask.
async fn ran(rig: &Rig, arguments: &[&str]) -> Output {
    let mut command = Command::new(bins().join("dialtone"));
    command.args(arguments).arg("--data-dir").arg(rig.data_dir()).kill_on_drop(true);
    soon("the command", command.output()).await.expect("run")
}

async fn said(rig: &Rig, arguments: &[&str]) -> String {
    let output = ran(rig, arguments).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

async fn refused(rig: &Rig, arguments: &[&str]) -> String {
    let output = ran(rig, arguments).await;
    assert!(!output.status.success(), "{arguments:?} was done");
    String::from_utf8(output.stderr).expect("text")
}

/// A tenant that can take in batches, and a key of it.
async fn tenant(rig: &Rig, name: &str) -> String {
    said(rig, &["tenant", "add", name]).await;
    said(rig, &["voice", "add", "demo", "--tenant", name]).await;
    said(rig, &["user", "add", "1", "--tenant", name]).await;
    said(rig, &["key", "add", "--tenant", name, "--name", "of the test"]).await
}

async fn get(rig: &Rig, path: &str, key: &str) -> Answer {
    rig.api.get_with(path, &[("authorization", &format!("Bearer {key}"))]).await
}

async fn trigger(rig: &Rig, key: &str) -> String {
    let batch = TestBatch::of(3, 0, 0, 0);
    let answer = rig.api.post("/batch/trigger-test-batch", Some(key), batch.json()).await;
    answer.expect::<serde_json::Value>(202)["batch_id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_key_names_its_tenant_and_opens_nothing_else() {
    Setup::at(60)
        .run(async |rig| {
            // Nobody needs a key until there is one.
            let theirs = rig.api.trigger(&TestBatch::of(1, 0, 0, 0)).await;
            let (acme, other) = (tenant(rig, "acme").await, tenant(rig, "other").await);
            let own = trigger(rig, &acme).await;
            let status = |batch: &str| format!("/batch/batch-status/{batch}");
            for path in [
                "/batch".to_owned(),
                status(&own),
                format!("/batch/{own}/entries"),
                format!("/batch/{own}/report"),
                "/metrics".to_owned(),
            ] {
                for key in ["", "x", "demo", &acme[..acme.len() - 1], &acme.replace("dk_", "")] {
                    let answer = get(rig, &path, key).await;
                    assert_eq!(answer.status(), 401, "{path}");
                    assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{path}");
                    assert!(key.len() < 9 || !answer.text().contains(key));
                }
                assert_eq!(rig.api.get(&path).await.status(), 401, "{path}");
            }
            for path in ["/livez", "/readyz", "/openapi.json"] {
                assert_eq!(rig.api.get(path).await.status(), 200, "{path}");
            }
            assert_eq!(get(rig, "/metrics", &other).await.status(), 200);
            assert_eq!(get(rig, &status(&own), &acme).await.status(), 200);
            for (batch, key) in [(&own, &other), (&theirs, &acme)] {
                for path in [
                    status(batch),
                    format!("/batch/{batch}/entries"),
                    format!("/batch/{batch}/report"),
                ] {
                    assert_eq!(get(rig, &path, key).await.status(), 404, "{path}");
                }
            }
            let list = get(rig, "/batch", &other).await;
            assert_eq!(list.ok()["items"], json!([]));
            // Agents come with the capability of their attempt, whatever keys there are.
            let ended = format!("{}?wait=20s", status(&own));
            soon("the end of the batch", async {
                while get(rig, &ended, &acme).await.ok()["status"] != "completed" {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
        })
        .await;
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_and_opens_nothing_later() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let key = tenant(rig, "acme").await;
            assert_eq!(get(rig, "/batch", &key).await.status(), 200);
            let listed = said(rig, &["key", "list"]).await;
            let id = key.split('_').nth(1).expect("an id");
            assert!(listed.contains(&format!("{id} acme active")), "{listed}");
            assert!(!listed.contains(&key), "a key is shown once");
            said(rig, &["key", "revoke", id]).await;
            assert_eq!(get(rig, "/batch", &key).await.status(), 401);
            let listed = said(rig, &["key", "list", "--tenant", "acme"]).await;
            assert!(listed.contains("revoked"), "{listed}");
            let error = refused(rig, &["key", "revoke", id]).await;
            assert!(error.contains("revoked before"), "{error}");
            let error = refused(rig, &["key", "revoke", &key]).await;
            assert!(!error.contains(&key) && error.contains("dialtone key list"), "{error}");
            let error = refused(rig, &["key", "add", "--tenant", "nobody"]).await;
            assert!(error.contains("dialtone tenant add nobody"), "{error}");
            rig.dialtone.kill().await;
            rig.dialtone.restart().await;
            // That the last key is gone does not make anyone `demo`.
            assert_eq!(rig.api.get("/batch").await.status(), 401);
            assert_eq!(said(rig, &["tenant", "list"]).await, "acme\ndemo");
            assert!(!rig.logs().contains(&key), "a key was logged");
            for file in std::fs::read_dir(rig.data_dir()).expect("readable").flatten() {
                let bytes = std::fs::read(file.path()).expect("readable");
                let secret = key.rsplit('_').next().expect("a secret").as_bytes();
                let found = bytes.windows(secret.len()).any(|window| window == secret);
                assert!(!found, "{} holds the key", file.path().display());
            }
        })
        .await;
}

#[tokio::test]
async fn a_page_that_points_its_name_at_this_machine_is_refused() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            for host in ["evil.example", "localhost.evil.example", "127.0.0.2"] {
                let answer = rig.api.send(Method::GET, "/batch", &[("host", host)], None).await;
                assert_eq!(answer.expect("an answer").status(), 400, "{host}");
            }
            let answer = rig.api.send(Method::GET, "/batch", &[("host", "localhost")], None).await;
            assert_eq!(answer.expect("an answer").status(), 200);
        })
        .await;
}

/// A server on another data directory, given a file of keys; ends after a moment, or at once
/// if it refuses.
async fn with_keys_file(rig: &Rig, bind: &str, file: Option<&str>) -> Result<(), String> {
    let path = rig.dir().join("keys");
    let mut command = Command::new(bins().join("dialtone"));
    command.args(["serve", "--roles", "api", "--api-port", "0", "--bind", bind]);
    command.arg("--data-dir").arg(rig.dir().join("second")).kill_on_drop(true);
    command.env("RUST_LOG", "info").env("NO_COLOR", "1");
    if let Some(text) = file {
        std::fs::write(&path, text).expect("written");
        command.env("DIALTONE_API_KEYS_FILE", &path);
    }
    let address = rig.dir().join("address");
    let _ = std::fs::remove_file(&address);
    command.arg("--address-file").arg(&address).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("spawned");
    let up = async {
        while !address.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = soon("the server", up) => {
            child.kill().await.expect("killed");
            Ok(())
        }
        output = child.wait() => {
            assert!(!output.expect("waited").success());
            let mut said = String::new();
            let stderr = child.stderr.as_mut().expect("piped");
            tokio::io::AsyncReadExt::read_to_string(stderr, &mut said).await.expect("text");
            Err(said)
        }
    }
}

#[tokio::test]
async fn an_open_address_needs_keys() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let key = "canary0123456789canary0123456789ab";
            let error = with_keys_file(rig, "0.0.0.0", None).await.expect_err("refused");
            assert!(error.contains("127.0.0.1") && error.contains("key"), "{error}");
            let good = format!("# of the operator\ndemo:{key}\n");
            with_keys_file(rig, "0.0.0.0", Some(&good)).await.expect("served");
            for (bad, said) in [
                (format!("nobody:{key}"), "dialtone tenant add nobody"),
                ("demo:short-canary".to_owned(), "line 1"),
                (key.to_owned(), "TENANT:KEY"),
                (String::new(), "no keys"),
            ] {
                let error =
                    with_keys_file(rig, "127.0.0.1", Some(&bad)).await.expect_err("refused");
                assert!(error.contains(said) && error.contains("keys"), "{error}");
                assert!(!error.contains("canary"), "{error}");
            }
        })
        .await;
}

#[tokio::test]
async fn a_tenant_that_watches_leaves_places_for_others() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let (greedy, other) = (tenant(rig, "greedy").await, tenant(rig, "other").await);
            let path = format!("/batch/{}/events", trigger(rig, &greedy).await);
            let mut streams = Vec::new();
            let last = loop {
                let stream = EventStream::open_as(&rig.api, &path, None, Some(&greedy)).await;
                if stream.status != 200 {
                    break stream.status;
                }
                streams.push(stream);
            };
            assert_eq!((streams.len(), last), (limits::STREAMS_MAX / 2, 429));
            let problem = get(rig, &path, &greedy).await.refused(ErrorCode::TooManyStreams);
            assert!(problem.detail.contains("64 event streams of this tenant"), "{problem:?}");
            let path = format!("/batch/{}/events", trigger(rig, &other).await);
            let stream = EventStream::open_as(&rig.api, &path, None, Some(&other)).await;
            assert_eq!(stream.status, 200, "the other tenant still watches");
        })
        .await;
}
