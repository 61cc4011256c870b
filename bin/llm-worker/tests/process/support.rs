use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dialtone_serve::client::Response;
use dialtone_serve::{HttpClient, address_file};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method};
use serde_json::Value;
use tempfile::TempDir;

/// Nothing here takes longer unless it hangs.
pub const HANG: Duration = Duration::from_secs(30);
pub const NONCE: &str = "nonce-of-a-test";

/// Looks until there is something.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANG, looking).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// The binary with an environment of its own.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-worker"));
    command
        .args(args)
        .env_remove("LLM_WORKER_API_KEY")
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .env("DIALTONE_NONCE", NONCE)
        .stdin(Stdio::null());
    command
}

/// What came of a command that ends by itself.
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

pub fn run(args: &[&str]) -> Done {
    let begun = Instant::now();
    let output = command(args).output().expect("the binary runs");
    Done {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: begun.elapsed(),
    }
}

/// A worker that serves. Killed when dropped, but it has ended by itself in a good run.
pub struct Worker {
    child: Child,
    dir: TempDir,
    client: HttpClient,
    pub url: String,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Worker {
    /// One that listens; its model may still be loading.
    pub async fn start(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("address.json");
        let log = std::fs::File::create(dir.path().join("log")).expect("a log");
        let child = command(&["--port", "0", "--address-file", &path.to_string_lossy()])
            .args(args)
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let mut worker = Self { child, dir, client: HttpClient::default(), url: String::new() };
        let address = eventually("the address", async || {
            assert_eq!(worker.ended(), None, "{}", worker.log());
            address_file::read(&path)
        })
        .await;
        assert_eq!((address.nonce.as_str(), address.pid), (NONCE, worker.child.id()));
        worker.url.clone_from(&address.urls["http"]);
        worker
    }

    /// One that takes requests.
    pub async fn ready(args: &[&str]) -> Self {
        let worker = Self::start(args).await;
        eventually("the readiness", async || {
            (worker.get("/ready").await.status == 200).then_some(())
        })
        .await;
        worker
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub async fn get(&self, path: &str) -> Response {
        let url = format!("{}{path}", self.url);
        let sent = self.client.request(Method::GET, &url, HeaderMap::new(), None).await;
        sent.unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    pub async fn post(&self, path: &str, body: Value) -> Response {
        let url = format!("{}{path}", self.url);
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
        let body = Some(Bytes::from(body.to_string()));
        let client = self.client.with_timeout(HANG);
        let sent = client.request(Method::POST, &url, headers, body);
        sent.await.unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    pub fn terminate(&self) {
        let told = Command::new("kill").arg(self.pid().to_string()).status();
        assert!(told.expect("kill runs").success());
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    pub async fn end(&mut self) -> ExitStatus {
        eventually("the end", async || self.ended()).await
    }

    pub fn log(&self) -> String {
        let mut text = String::new();
        let file = std::fs::File::open(self.dir.path().join("log"));
        file.and_then(|mut file| file.read_to_string(&mut text)).expect("the log");
        text
    }
}

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}
