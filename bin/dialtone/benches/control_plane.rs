//! How many calls a second the platform itself carries, and how soon a single call is
//! dispatched: the real store on a real disk, the real rules, dispatcher and HTTP API; only
//! LiveKit and the agents are stubs, which answer at once.
//!
//! ```text
//! cargo bench -p dialtone --bench control_plane -- [--calls 100000] [--singles 300]
//! ```
//!
//! Prints JSON. `calls_per_s` counts from the trigger to the written report: create, lease,
//! dispatch, dial claim, one callback over HTTP for each call. `fdatasync_*` are of 8 KiB
//! written over and over beside the database, and say what a commit can cost at best.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use dialtone_api::{Access, Api, Streams, Uploads, routes};
use dialtone_auth::{Capabilities, NumberKeys, Secret};
use dialtone_batch::{
    BatchMetrics, Calls, Control, Dispatcher, DispatcherOptions, Intake, OutboxSender, Reporter,
    SuppressionList,
};
use dialtone_clock::{Clock, ScaledClock, Timeline};
use dialtone_contract::wire::{BatchOptions, EntryCompletedRequest, TestBatchRequest};
use dialtone_contract::{BatchId, BatchState, DispatchMetadata, Outcome, TenantId};
use dialtone_livekit::{LiveKit, LiveKitError, NewDispatch};
use dialtone_serve::{Limits, ListenArgs, listen, serve};
use dialtone_store::{BatchStore as _, Directory as _, Store};
use dialtone_store_sqlite::SqliteStore;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Between two looks at a batch's state.
const LOOK: Duration = Duration::from_millis(5);

type Jobs = mpsc::UnboundedSender<(String, Instant)>;

/// LiveKit that takes every dispatch at once and hands it to the stubbed agents.
struct Stub(Jobs);

#[async_trait]
impl LiveKit for Stub {
    async fn dispatch(&self, new: &NewDispatch) -> Result<String, LiveKitError> {
        // The receiver lives as long as the benchmark.
        let _ = self.0.send((new.metadata.clone(), Instant::now()));
        Ok("AD_stub".to_owned())
    }

    async fn delete_dispatch(&self, _room: &str, _id: &str) -> Result<(), LiveKitError> {
        Ok(())
    }

    async fn delete_room(&self, _room: &str) -> Result<(), LiveKitError> {
        Ok(())
    }
}

/// The platform in this process, on `dir`.
struct Platform {
    store: Arc<SqliteStore>,
    intake: Intake,
    calls: Arc<Calls>,
    address: String,
    shutdown: CancellationToken,
}

impl Platform {
    async fn start(dir: &Path, jobs: Jobs) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(ScaledClock::new(Timeline::REAL));
        let store = Arc::new(SqliteStore::open(dir, Arc::clone(&clock))?);
        store.seed_demo().await?;
        let port: Arc<dyn Store> = store.clone();
        let secret = Secret::new("of this benchmark");
        let (metrics, livekit) = (BatchMetrics::default(), Arc::new(Stub(jobs)));
        let new_intake =
            || Intake::new(Arc::clone(&port), Arc::clone(&clock), NumberKeys::new(&secret));
        let new_calls = || Calls::new(Arc::clone(&port), Arc::clone(&clock), metrics.clone());
        let access = Access::new(store.clone(), Vec::new()).await?;
        let api = Api {
            intake: new_intake(),
            control: Control::new(Arc::clone(&port), Arc::clone(&clock)),
            calls: new_calls(),
            store: Arc::clone(&port),
            access: Arc::new(access),
            suppressions: SuppressionList::new(
                Arc::clone(&port),
                Arc::clone(&clock),
                NumberKeys::new(&secret),
            ),
            uploads: Uploads::in_dir(dir.join("uploads")),
            capabilities: Capabilities::new(&secret),
            streams: Streams::new(CancellationToken::new()),
            clock: Arc::clone(&clock),
            trouble: None,
        };
        let any = ListenArgs {
            bind: std::net::Ipv4Addr::LOCALHOST.into(),
            port: 0,
            listen_fd: Vec::new(),
            auth_configured: false,
        };
        let listener = listen("http", &any)?;
        let address = listener.local_addr()?.to_string();
        let url = format!("http://{address}");
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(listener, routes(api), Limits::default(), shutdown.clone()));
        let options = DispatcherOptions { api_url: url, capabilities: Capabilities::new(&secret) };
        let dispatcher = Dispatcher::new(
            Arc::clone(&port),
            livekit.clone(),
            Arc::clone(&clock),
            options,
            metrics.clone(),
        )
        .await?;
        tokio::spawn(dispatcher.run(shutdown.clone()));
        let outbox = OutboxSender::new(Arc::clone(&port), livekit, Arc::clone(&clock));
        tokio::spawn(outbox.run(shutdown.clone()));
        let reporter = Reporter::new(Arc::clone(&port), Arc::clone(&clock));
        tokio::spawn(reporter.run(shutdown.clone()));
        Ok(Self { store, intake: new_intake(), calls: Arc::new(new_calls()), address, shutdown })
    }

    async fn trigger(&self, calls: u32) -> anyhow::Result<BatchId> {
        let text = json!({ "voice_id": "demo", "initiated_by": 1 }).to_string();
        let request = TestBatchRequest {
            total: calls,
            fail_count: Some(0),
            stuck_count: Some(0),
            dropped_count: Some(0),
            options: BatchOptions { max_concurrent: 10_000, ..BatchOptions::default() },
            ..serde_json::from_str(&text)?
        };
        Ok(self.intake.trigger_test(&TenantId::new("demo"), &request, None).await?.batch)
    }

    /// Waits for the report; looks now and then, as a user would, so that looking is not
    /// what is measured.
    async fn ended(&self, batch: &BatchId) -> anyhow::Result<()> {
        loop {
            let row = self.store.batch(&TenantId::new("demo"), batch).await?;
            if row.is_some_and(|row| row.state == BatchState::Completed) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A connection of one agent. As little client as HTTP allows: what is measured is the
/// server.
struct Connection {
    stream: BufReader<TcpStream>,
    line: String,
}

impl Connection {
    async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), line: String::new() })
    }

    /// Posts a callback; an answer other than 200 is an error.
    async fn completed(&mut self, capability: &str, body: &str) -> anyhow::Result<()> {
        let request = format!(
            "POST /batch/entry-completed HTTP/1.1\r\nhost: 127.0.0.1\r\n\
             authorization: Bearer {capability}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).await?;
        let (mut status, mut length) = (String::new(), 0);
        loop {
            self.line.clear();
            anyhow::ensure!(self.stream.read_line(&mut self.line).await? > 0, "hung up");
            let line = self.line.trim_end();
            if status.is_empty() {
                line.clone_into(&mut status);
            } else if line.is_empty() {
                break;
            } else if let Some(n) = line.strip_prefix("content-length: ") {
                length = n.parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        let text = String::from_utf8_lossy(&body);
        anyhow::ensure!(status.starts_with("HTTP/1.1 200 "), "{status}: {text}");
        anyhow::ensure!(text.contains("\"applied\":true"), "{text}");
        Ok(())
    }
}

/// An agent that wins the dial claim and reports at once.
async fn play(calls: &Calls, http: &mut Connection, metadata: &str) -> anyhow::Result<()> {
    let metadata: DispatchMetadata = serde_json::from_str(metadata)?;
    let tenant = TenantId::new("demo");
    let claimer = Some("stub".to_owned());
    calls.claim(&tenant, &metadata.call_id, claimer).await.map_err(|e| anyhow::anyhow!("{e}"))?;
    let request = EntryCompletedRequest {
        call_id: metadata.call_id,
        entry_id: metadata.entry_id,
        attempt: metadata.attempt,
        status: Outcome::Completed,
        duration_ms: Some(0),
        reason: None,
    };
    http.completed(&metadata.capability, &serde_json::to_string(&request)?).await
}

/// Agents at once.
const AGENTS: usize = 256;

async fn batch(
    platform: &Platform,
    calls: u32,
    jobs: mpsc::UnboundedReceiver<(String, Instant)>,
) -> anyhow::Result<(mpsc::UnboundedReceiver<(String, Instant)>, serde_json::Value)> {
    let jobs = Arc::new(tokio::sync::Mutex::new(jobs));
    let agents: Vec<_> = (0..AGENTS)
        .map(|_| {
            let (jobs, calls) = (Arc::clone(&jobs), Arc::clone(&platform.calls));
            let address = platform.address.clone();
            tokio::spawn(async move {
                let mut http = Connection::open(&address).await.expect("the server listens");
                loop {
                    let Some((metadata, _)) = jobs.lock().await.recv().await else { return };
                    if let Err(error) = play(&calls, &mut http, &metadata).await {
                        eprintln!("{error:#}");
                    }
                }
            })
        })
        .collect();
    let (began, cpu) = (Instant::now(), cpu_seconds()?);
    let id = platform.trigger(calls).await?;
    let created = began.elapsed();
    platform.ended(&id).await?;
    let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    for agent in &agents {
        agent.abort();
    }
    for agent in agents {
        let _ = agent.await;
    }
    let jobs = Arc::into_inner(jobs).map(tokio::sync::Mutex::into_inner);
    let jobs = jobs.ok_or_else(|| anyhow::anyhow!("an agent still holds the jobs"))?;
    let figures = json!({
        "calls": calls,
        "calls_per_s": f64::from(calls) / took,
        "calls_per_cpu_s": f64::from(calls) / cpu,
        "cpu_s": cpu,
        "create_s": created.as_secs_f64(),
        "took_s": took,
        "slowest_commit_ms": platform.store.slowest_commit().as_secs_f64() * 1e3,
        "peak_rss_mib": peak_rss_mib()?,
    });
    Ok((jobs, figures))
}

/// From a single call's trigger to its dispatch at LiveKit, one after the other.
async fn singles(
    platform: &Platform,
    n: usize,
    jobs: &mut mpsc::UnboundedReceiver<(String, Instant)>,
) -> anyhow::Result<serde_json::Value> {
    let mut http = Connection::open(&platform.address).await?;
    let (mut whole, mut after) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let began = Instant::now();
        let id = platform.trigger(1).await?;
        let accepted = Instant::now();
        let (metadata, at) =
            jobs.recv().await.ok_or_else(|| anyhow::anyhow!("the stub is gone"))?;
        whole.push(at - began);
        after.push(at.saturating_duration_since(accepted));
        play(&platform.calls, &mut http, &metadata).await?;
        platform.ended(&id).await?;
    }
    Ok(json!({
        "singles": n,
        "trigger_to_dispatch_p50_ms": quantile(&mut whole, 50),
        "trigger_to_dispatch_p99_ms": quantile(&mut whole, 99),
        "accepted_to_dispatch_p50_ms": quantile(&mut after, 50),
        "accepted_to_dispatch_p99_ms": quantile(&mut after, 99),
    }))
}

fn quantile(spans: &mut [Duration], percent: usize) -> f64 {
    spans.sort_unstable();
    let at = (spans.len() * percent / 100).min(spans.len() - 1);
    spans[at].as_secs_f64() * 1e3
}

/// What one durable write costs on this disk.
fn fdatasync(dir: &Path) -> anyhow::Result<serde_json::Value> {
    let path = dir.join("fdatasync");
    let file: File = OpenOptions::new().create(true).write(true).truncate(true).open(&path)?;
    let block = [7; 8192];
    (&file).write_all(&block)?;
    file.sync_all()?;
    let mut spans = Vec::new();
    for _ in 0..500 {
        let began = Instant::now();
        file.write_all_at(&block, 0)?;
        file.sync_data()?;
        spans.push(began.elapsed());
    }
    std::fs::remove_file(path)?;
    let (p50, p99) = (quantile(&mut spans, 50), quantile(&mut spans, 99));
    Ok(json!({ "fdatasync_p50_ms": p50, "fdatasync_p99_ms": p99 }))
}

/// CPU time of this process, server and stubs together. `/proc` counts in hundredths.
fn cpu_seconds() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks = after.split_whitespace().skip(11).take(2);
    Ok(ticks.filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / 100.0)
}

fn peak_rss_mib() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

fn option(name: &str, default: u32) -> u32 {
    let mut args = std::env::args().skip_while(|arg| arg != name).skip(1);
    args.next().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("control-plane-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let disk = fdatasync(&dir)?;
    let (sender, mut jobs) = mpsc::unbounded_channel();
    let platform = Platform::start(&dir, sender).await?;
    let singles = singles(&platform, option("--singles", 300) as usize, &mut jobs).await?;
    let (_jobs, batch) = batch(&platform, option("--calls", 100_000), jobs).await?;
    platform.shutdown.cancel();
    platform.store.close().await;
    let all = json!({ "disk": disk, "single": singles, "batch": batch });
    println!("{}", serde_json::to_string_pretty(&all)?);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
