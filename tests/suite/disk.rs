//! Disks as they are in the field: full, read-only, and with rows of an older version.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use dialtone_contract::ErrorCode;
use dialtone_tests::wait::{soon, until};
use dialtone_tests::{Api, TestBatch, bins};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// The schema of the first release, as it was committed.
const OLDEST: &str = include_str!("../../crates/store-sqlite/migrations/0001_init.sql");

/// Marks a database as this program's.
const APPLICATION_ID: i32 = 0x4449_414c;

/// `dialtone`, in a mount namespace of its own where `mount` has been done.
fn mounted(mount: &str, dir: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &format!("set -e; {mount}; exec \"$@\"")]);
    command.arg(dir).arg(bins().join("dialtone"));
    command.env("LIVEKIT_URL", "http://127.0.0.1:9").env("NO_COLOR", "1");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Whether this user may mount; if not, the test says that it was skipped, past the
/// capture of the test runner.
async fn may_mount(test: &str) -> bool {
    let mut command = Command::new("unshare");
    command.args(["-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt"]);
    let may = command.output().await.is_ok_and(|output| output.status.success());
    if !may {
        use std::io::Write as _;
        let line = format!("SKIPPED {test}: `unshare -rm mount` is not allowed here\n");
        std::io::stderr().write_all(line.as_bytes()).expect("a terminal or a file");
    }
    may
}

/// A server without a stack around it.
struct Server {
    child: Child,
    api: Api,
}

impl Server {
    async fn start(mut command: Command, data: &Path, out: &TempDir) -> Self {
        let address = out.path().join("address.json");
        command.arg("serve").arg("--data-dir").arg(data).args(["--api-port", "0", "--bind"]);
        command.arg(Ipv4Addr::LOCALHOST.to_string()).arg("--address-file").arg(&address);
        let log = std::fs::File::create(out.path().join("dialtone.log")).expect("a log");
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        let mut child = command.spawn().expect("started");
        let url = until("the server's address", async || {
            if let Some(status) = child.try_wait().expect("a child") {
                let log = std::fs::read_to_string(out.path().join("dialtone.log"));
                panic!("{status}: {}", log.unwrap_or_default());
            }
            let text = std::fs::read_to_string(&address).map_err(|error| error.to_string())?;
            let found: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            found["urls"]["api"].as_str().map(str::to_owned).ok_or(text)
        });
        let api = Api::new(url.await);
        Self { child, api }
    }

    async fn total(&self, batch: &str) -> Value {
        let status = self.api.get(&format!("/batch/batch-status/{batch}")).await;
        status.expect::<Value>(200)["total_calls"].clone()
    }
}

#[tokio::test]
async fn a_full_disk_is_named_and_loses_nothing() {
    if !may_mount("a_full_disk_is_named_and_loses_nothing").await {
        return;
    }
    let (dir, out) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    // A file that is removed later stands for whatever fills a disk.
    let mount = "mount -t tmpfs -o size=3m none \"$0\"; \
                 dd if=/dev/zero of=\"$0/filler\" bs=64k count=16 2>/dev/null";
    let mut server = Server::start(mounted(mount, dir.path()), dir.path(), &out).await;
    let pid = server.child.id().expect("it runs");
    let inside = PathBuf::from(format!("/proc/{pid}/root{}", dir.path().display()));
    assert!(inside.join("filler").exists(), "the server does not see the small disk");
    let batch = TestBatch::of(40, 0, 0, 0);
    let mut acknowledged = Vec::new();
    let refused = loop {
        let answer = server.api.ask(&batch, None).await;
        if answer.status() != 202 {
            break answer;
        }
        let id = answer.expect::<Value>(202)["batch_id"].as_str().expect("an id").to_owned();
        acknowledged.push(id);
        assert!(acknowledged.len() < 2000, "a disk of 3 MB is never full");
    };
    let said = std::fs::read_to_string(out.path().join("dialtone.log")).expect("a log");
    assert_eq!(refused.status(), 507, "{}\n{said}", refused.text());
    let problem = refused.refused(ErrorCode::StorageFull);
    assert!(problem.hint.contains("free space"), "{}", problem.hint);
    assert!(!acknowledged.is_empty(), "it was full from the start");
    assert_eq!(server.api.get("/livez").await.status(), 200);
    for id in &acknowledged {
        assert_eq!(server.total(id).await, 40, "{id}");
    }
    std::fs::remove_file(inside.join("filler")).expect("removed");
    let after = until("room for one more batch", async || {
        let answer = server.api.ask(&batch, None).await;
        if answer.status() == 202 { Ok(answer) } else { Err(answer.text()) }
    });
    let after = after.await.expect::<Value>(202)["batch_id"].as_str().expect("an id").to_owned();
    acknowledged.push(after);
    for id in &acknowledged {
        assert_eq!(server.total(id).await, 40, "{id}");
    }
    assert!(server.child.try_wait().expect("a child").is_none(), "the server has ended");
    soon("the kill", server.child.kill()).await.expect("killed");
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_named_at_the_start() {
    if !may_mount("a_data_directory_that_cannot_be_written_is_named_at_the_start").await {
        return;
    }
    for seeded in [false, true] {
        let dir = TempDir::new().expect("a folder");
        if seeded {
            let mut seed = Command::new(bins().join("dialtone"));
            let seed = seed.arg("demo-seed").arg("--data-dir").arg(dir.path()).output();
            assert!(seed.await.expect("run").status.success());
        }
        let mount = "mount --bind \"$0\" \"$0\"; mount -o remount,ro,bind \"$0\"";
        let mut command = mounted(mount, dir.path());
        command.args(["serve", "--api-port", "0", "--data-dir"]).arg(dir.path());
        let output = soon("the server's end", command.output()).await.expect("run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{said}");
        for part in ["cannot use", &dir.path().display().to_string(), "Read-only", "can write"] {
            assert!(said.contains(part), "no `{part}` in: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[tokio::test]
async fn rows_of_the_oldest_schema_are_taken_over() {
    let (dir, out) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let database = rusqlite::Connection::open(dir.path().join("dialtone.db")).expect("opened");
    database.execute_batch(OLDEST).expect("the first schema");
    database.pragma_update(None, "application_id", APPLICATION_ID).expect("marked");
    database.pragma_update(None, "user_version", 1).expect("numbered");
    database
        .execute_batch(
            "INSERT INTO tenants VALUES ('old', 1);
             INSERT INTO voices VALUES ('old', 'theirs', 1);
             INSERT INTO users VALUES ('old', 7, 1);",
        )
        .expect("rows");
    drop(database);
    let mut command = Command::new(bins().join("dialtone"));
    command.env("LIVEKIT_URL", "http://127.0.0.1:9").env("NO_COLOR", "1").kill_on_drop(true);
    let mut server = Server::start(command, dir.path(), &out).await;
    let mut key = Command::new(bins().join("dialtone"));
    key.args(["key", "add", "--tenant", "old", "--name", "of the test", "--data-dir"]);
    let output = soon("the key", key.arg(dir.path()).output()).await.expect("run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let key = String::from_utf8(output.stdout).expect("text").trim().to_owned();
    let batch = TestBatch::of(2, 0, 0, 0).with("/voice_id", "theirs").with("/initiated_by", 7);
    let path = "/batch/trigger-test-batch";
    server.api.post(path, Some(&key), batch.json()).await.expect::<Value>(202);
    soon("the kill", server.child.kill()).await.expect("killed");
}
