//! `test-worker`: a LiveKit agent worker that simulates how calls end, for test batches
//! only. It rings nobody: numbers outside the simulated range are refused.

mod api;
mod call;
mod lost;
mod outcome;
mod script;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use dialtone_agent_worker::{
    JobContext, JobHandler, JobOffer, JobResult, Registration, Worker, WorkerOptions,
};
use dialtone_auth::env;
use dialtone_clock::Timeline;
use dialtone_contract::TEST_WORKER_NAME;
use dialtone_serve::address_file::{self, AddressFile};
use dialtone_serve::health::Health;
use dialtone_serve::{HttpClient, Limits, ListenArgs, listen, make_room, serve, shutdown_signal};
use tokio_util::sync::CancellationToken;

use crate::call::Simulator;

/// Name of the health listener in `--listen-fd`.
const LISTENER: &str = "health";

/// Part of the health that registration decides.
const REGISTRATION: &str = "livekit";

/// Simulates the calls of test batches.
#[derive(Parser)]
#[command(name = "test-worker", version)]
struct Args {
    /// LiveKit server.
    #[arg(
        long,
        env = "LIVEKIT_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:7880"
    )]
    livekit_url: String,
    /// Name to register under.
    #[arg(long, default_value = TEST_WORKER_NAME)]
    agent_name: String,
    /// Jobs at once; more are refused.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_jobs: u32,
    /// Inherited listener for health and metrics, `health=DESCRIPTOR`.
    #[arg(long, value_name = "NAME=N")]
    listen_fd: Vec<String>,
    /// Port for health and metrics; 0 takes a free one.
    #[arg(long)]
    health_port: Option<u16>,
    /// File to write the address to, as one line of JSON.
    #[arg(long, value_name = "PATH")]
    address_file: Option<PathBuf>,
}

struct Handler(Simulator);

impl JobHandler for Handler {
    fn wants(&self, offer: JobOffer<'_>) -> bool {
        self.0.wants(offer)
    }

    async fn run(&self, job: JobContext) -> JobResult {
        self.0.run(job).await
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    dialtone_serve::logs::init("test-worker");
    let args = Args::parse();
    let scale = Timeline::from_env()?.scale;
    let health = Health::start();
    health.not_ready(REGISTRATION, "not registered yet");
    let shutdown = shutdown_signal();
    // The health stays up while running jobs end.
    let stop_health = CancellationToken::new();
    let health_task = start_health(&args, &health, stop_health.clone())?;

    // A job holds a socket to its room.
    make_room(args.max_jobs as usize);
    let key = env::livekit_key(&args.livekit_url)?;
    let options = WorkerOptions {
        max_jobs: args.max_jobs as usize,
        seed: u64::from(std::process::id()),
        ..WorkerOptions::new(&args.livekit_url, key, &args.agent_name)
    };
    let worker = Worker::new(options)?;
    tokio::spawn(follow_registration(worker.registration(), health.clone()));
    let simulator = Simulator::new(&HttpClient::default(), scale, &mut health.registry());
    worker.run(Arc::new(Handler(simulator)), shutdown).await?;

    stop_health.cancel();
    if let Some(task) = health_task {
        task.await.context("the health server panicked")??;
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

type HealthTask = tokio::task::JoinHandle<std::io::Result<dialtone_serve::Drained>>;

fn start_health(
    args: &Args,
    health: &Health,
    stop: CancellationToken,
) -> anyhow::Result<Option<HealthTask>> {
    if args.listen_fd.is_empty() && args.health_port.is_none() {
        return Ok(None);
    }
    let bind: IpAddr = Ipv4Addr::LOCALHOST.into();
    let listener = listen(
        LISTENER,
        &ListenArgs {
            bind,
            port: args.health_port.unwrap_or(0),
            listen_fd: args.listen_fd.clone(),
            auth_configured: false,
        },
    )?;
    if let Some(path) = &args.address_file {
        let url = format!("http://{}", listener.local_addr()?);
        let urls = [(LISTENER.to_owned(), url)].into_iter().collect();
        address_file::write(path, &AddressFile::of_this_process(urls))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(Some(tokio::spawn(serve(listener, health.routes(), Limits::default(), stop))))
}

async fn follow_registration(
    mut registration: tokio::sync::watch::Receiver<Registration>,
    health: Health,
) {
    loop {
        match &*registration.borrow_and_update() {
            Registration::Registered { .. } => health.ready(REGISTRATION),
            other => health.not_ready(REGISTRATION, format!("{other:?}")),
        }
        if registration.changed().await.is_err() {
            return;
        }
    }
}
