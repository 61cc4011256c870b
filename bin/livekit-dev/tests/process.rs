//! The binary as a process: ready, at work, drained.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dialtone_agent_worker::{
    Closed, JobContext, JobHandler, JobResult, Registration, Worker, WorkerOptions,
};
use dialtone_auth::livekit::ApiKey;
use dialtone_serve::address_file;
use livekit_api::services::agent_dispatch::AgentDispatchClient;
use livekit_protocol as proto;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer unless it hangs.
const CEILING: Duration = Duration::from_secs(20);

async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(CEILING, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not come within {CEILING:?}"),
    }
}

async fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    soon(what, async {
        loop {
            if let Some(found) = probe() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended by itself in a good run.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(address_file: &Path, args: &[&str]) -> Process {
    let child = Command::new(env!("CARGO_BIN_EXE_livekit-dev"))
        .args(["--port", "0", "--address-file"])
        .arg(address_file)
        .args(args)
        .env_remove("LIVEKIT_KEYS")
        .env_remove("LIVEKIT_API_KEY")
        .env_remove("LIVEKIT_API_SECRET")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    Process(child)
}

/// Tells how each of its stays ended.
struct Stays(mpsc::UnboundedSender<Option<Closed>>);

impl JobHandler for Stays {
    async fn run(&self, job: JobContext) -> JobResult {
        let session = job.join().await?;
        let _ = self.0.send(None);
        let _ = self.0.send(Some(session.closed().await));
        Ok(())
    }
}

#[tokio::test]
async fn serves_a_worker_and_says_goodbye_when_it_is_stopped() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("address.json");
    let mut process = start(&path, &["--mode", "oss", "--seed", "7"]);
    let address = eventually("the address", || address_file::read(&path)).await;
    assert_eq!(address.pid, process.0.id());
    let url = address.urls["http"].clone();

    let worker = Worker::new(WorkerOptions::new(url.clone(), ApiKey::dev(), "a")).expect("good");
    let mut registration = worker.registration();
    let (stays, mut told) = mpsc::unbounded_channel();
    let shutdown = CancellationToken::new();
    let working = tokio::spawn(worker.run(Stays(stays), shutdown.clone()));
    let registered = |now: &Registration| matches!(now, Registration::Registered { .. });
    soon("the registration", registration.wait_for(registered)).await.expect("open");

    let dispatches = AgentDispatchClient::with_api_key(&url, "devkey", "secret");
    let request = proto::CreateAgentDispatchRequest {
        room: "r".into(),
        agent_name: "a".into(),
        ..Default::default()
    };
    dispatches.create_dispatch(request).await.expect("a dispatch");
    assert_eq!(soon("the join", told.recv()).await, Some(None));

    let stop = Command::new("kill").arg(process.0.id().to_string()).status();
    assert!(stop.expect("kill runs").success());
    let closed = soon("the goodbye", told.recv()).await.flatten().expect("an end");
    assert_eq!(closed, Closed::ByServer(proto::DisconnectReason::ServerShutdown));
    let status = eventually("the end", || process.0.try_wait().expect("a child")).await;
    assert!(status.success(), "{status}");
    shutdown.cancel();
    soon("the worker's end", working).await.expect("no panic").expect("a good end");
}

#[test]
fn refuses_the_well_known_key_where_others_can_reach_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let process = start(&dir.path().join("address.json"), &["--bind", "0.0.0.0"]);
    let mut process = process;
    let status = process.0.wait().expect("a child");
    assert_eq!(status.code(), Some(5));
    let mut log = String::new();
    use std::io::Read as _;
    process.0.stderr.take().expect("piped").read_to_string(&mut log).expect("text");
    assert!(log.contains("LIVEKIT_API_SECRET"), "{log}");
}
