//! `dialtone serve`: the API and the dispatcher in one process, over one store.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use dialtone_api::{Access, Api, Streams, Uploads, guarded};
use dialtone_auth::{Capabilities, NumberKeys, Secret, WebhookKeys, env};
use dialtone_batch::{
    BatchMetrics, Calls, Control, Dispatcher, DispatcherOptions, Housekeeping, Intake,
    OutboxSender, Reporter, SuppressionList, Trouble, WebhookMetrics, WebhookSender,
};
use dialtone_clock::Clock;
use dialtone_livekit::{LiveKit, RealLiveKit};
use dialtone_serve::address_file::{self, AddressFile};
use dialtone_serve::health::Health;
use dialtone_serve::{Limits, ListenArgs, listen, make_room, serve, shutdown_signal};
use dialtone_store::Store;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::database::Place;
use crate::settings::{Settings, shown_url};
use crate::{config, webhook};

/// Name of the API's listener in `--listen-fd`.
const LISTENER: &str = "api";

/// Folder of uploads that are being read, in the data directory.
const UPLOADS: &str = "uploads";

/// Arguments of `serve`.
#[derive(clap::Args)]
pub struct Args {
    /// What this process does.
    #[arg(long, value_delimiter = ',', default_value = "api,dispatcher")]
    roles: Vec<Role>,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Address to listen on.
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST.into())]
    bind: IpAddr,
    /// Port of the API; 0 takes a free one.
    #[arg(long, default_value_t = 8000)]
    api_port: u16,
    /// Inherited listener, `api=DESCRIPTOR`.
    #[arg(long, value_name = "NAME=N")]
    listen_fd: Vec<String>,
    /// File to write the address to, as one line of JSON.
    #[arg(long, value_name = "PATH")]
    address_file: Option<PathBuf>,
    /// LiveKit server.
    #[arg(
        long,
        env = "LIVEKIT_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:7880"
    )]
    pub(crate) livekit_url: String,
    /// Base URL of the API as agents reach it; by default the address it listens on.
    #[arg(long, env = "MAIN_API_BASE_URL", hide_env_values = true)]
    public_url: Option<String>,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    /// Serves HTTP.
    Api,
    /// Works off batches.
    Dispatcher,
}

/// Serves until SIGTERM or SIGINT.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let shutdown = shutdown_signal();
    let Settings { clock, livekit: key, keys, .. } = Settings::read(&args)?;
    let database = args.place.open(Arc::clone(&clock)).await?;
    let (store, stored) = (database.store(), database.access());
    store.seed_demo().await?;
    let secret = config::platform_secret(&args.place.data_dir)?;
    database.agree_on(&secret).await?;
    let keys = match keys {
        Some(file) => file.known(&*stored).await?,
        None => Vec::new(),
    };
    let access = Arc::new(Access::new(stored, keys).await?);
    let listener = listen(
        LISTENER,
        &ListenArgs {
            bind: args.bind,
            port: args.api_port,
            listen_fd: args.listen_fd.clone(),
            auth_configured: access.needs_key().await?,
        },
    )?;
    let url = format!("http://{}", listener.local_addr()?);
    if let Some(path) = &args.address_file {
        let urls = BTreeMap::from([(LISTENER.to_owned(), url.clone())]);
        address_file::write(path, &AddressFile::of_this_process(urls))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let health = Health::start();
    let livekit = Arc::new(RealLiveKit::new(&args.livekit_url, &key));
    health.registry().register_collector(Box::new(Disk(database.slowest_commit())));
    let parts = Parts {
        store,
        livekit,
        clock,
        health: health.clone(),
        secret,
        data_dir: args.place.data_dir.clone(),
        abandoned_after: database.abandoned_after(),
        dev_livekit: env::is_dev_livekit(&args.livekit_url, &key),
        died: Arc::default(),
    };
    let metrics = parts.metrics();
    let tasks = TaskTracker::new();
    let mut trouble = None;
    if args.roles.contains(&Role::Dispatcher) {
        let api_url = args.public_url.clone().unwrap_or_else(|| url.clone());
        let started = parts.start_dispatcher(api_url, metrics.clone(), &tasks, &shutdown).await?;
        trouble = Some(started);
    }
    // Figures of all tenants together are for whoever has a key.
    let mut router = guarded(health.routes(), "/metrics", Arc::clone(&access));
    if args.roles.contains(&Role::Api) {
        router = router.merge(dialtone_api::routes(parts.api(metrics, access, trouble, &shutdown)));
    }
    let router = health.observe(router);
    tracing::info!(url, livekit = shown_url(&args.livekit_url), store = %args.place, "serving");
    let limits = Limits::default();
    make_room(limits.connections);
    let drained = serve(listener, router, limits, shutdown.clone()).await?;
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    tracing::info!(accepted = drained.accepted, cut = drained.cut, "stopped");
    let died = parts.died.load(Ordering::Acquire);
    Ok(if died { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Shows in the readiness what keeps the dispatcher from working.
async fn follow_trouble(mut trouble: watch::Receiver<Trouble>, health: Health) {
    loop {
        let Trouble { livekit, store } = trouble.borrow_and_update().clone();
        for (part, why) in [("livekit", livekit), ("store", store)] {
            match why {
                Some(why) => health.not_ready(part, why),
                None => health.ready(part),
            }
        }
        if trouble.changed().await.is_err() {
            return;
        }
    }
}

/// How slow the disk has been: the longest commit, as long as there is a store.
struct Disk(Box<dyn Fn() -> Option<Duration> + Send + Sync>);

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl Collector for Disk {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(slowest) = (self.0)() else { return Ok(()) };
        let slowest = ConstGauge::new(slowest.as_secs_f64());
        let help = "Wall time of the longest commit since the start";
        let unit = Some(&Unit::Seconds);
        let metric =
            encoder.encode_descriptor("store_commit_max", help, unit, slowest.metric_type())?;
        slowest.encode(metric)
    }
}

struct Parts {
    store: Arc<dyn Store>,
    livekit: Arc<dyn LiveKit>,
    clock: Arc<dyn Clock>,
    health: Health,
    secret: Secret,
    data_dir: PathBuf,
    /// Wall time after which a batch that is still loading is nobody's.
    abandoned_after: Duration,
    /// Whether LiveKit is one for development, behind which no phone rings.
    dev_livekit: bool,
    /// Set when a loop without which the server must not go on has died.
    died: Arc<AtomicBool>,
}

impl Parts {
    fn metrics(&self) -> BatchMetrics {
        BatchMetrics::register(&mut self.health.registry())
    }

    fn api(
        &self,
        metrics: BatchMetrics,
        access: Arc<Access>,
        trouble: Option<watch::Receiver<Trouble>>,
        shutdown: &CancellationToken,
    ) -> Api {
        let (store, clock) = (&self.store, &self.clock);
        Api {
            intake: Intake::new(
                Arc::clone(store),
                Arc::clone(clock),
                NumberKeys::new(&self.secret),
            )
            .with_simulated_live(self.dev_livekit),
            suppressions: SuppressionList::new(
                Arc::clone(store),
                Arc::clone(clock),
                NumberKeys::new(&self.secret),
            ),
            uploads: Uploads::in_dir(self.data_dir.join(UPLOADS)),
            control: Control::new(Arc::clone(store), Arc::clone(clock)),
            calls: Calls::new(Arc::clone(store), Arc::clone(clock), metrics),
            store: Arc::clone(store),
            access,
            capabilities: Capabilities::new(&self.secret),
            streams: Streams::new(shutdown.clone()),
            clock: Arc::clone(clock),
            trouble,
        }
    }

    async fn start_dispatcher(
        &self,
        api_url: String,
        metrics: BatchMetrics,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<watch::Receiver<Trouble>> {
        let (store, livekit, clock) = (&self.store, &self.livekit, &self.clock);
        let capabilities = Capabilities::new(&self.secret);
        let dispatcher = Dispatcher::new(
            Arc::clone(store),
            Arc::clone(livekit),
            Arc::clone(clock),
            DispatcherOptions { api_url, capabilities },
            metrics,
        )
        .await?;
        dispatcher.discard_unfinished_loads(self.abandoned_after).await?;
        let trouble = dispatcher.trouble();
        tokio::spawn(follow_trouble(trouble.clone(), self.health.clone()));
        self.spawn_vital(tasks, shutdown, "dispatcher", dispatcher.run(shutdown.clone()));
        let outbox = OutboxSender::new(Arc::clone(store), Arc::clone(livekit), Arc::clone(clock));
        let housekeeping = Housekeeping::new(Arc::clone(store), Arc::clone(clock));
        self.spawn_vital(tasks, shutdown, "housekeeping", housekeeping.run(shutdown.clone()));
        self.spawn_vital(tasks, shutdown, "outbox", outbox.run(shutdown.clone()));
        let reporter = Reporter::new(Arc::clone(store), Arc::clone(clock));
        self.spawn_vital(tasks, shutdown, "reporter", reporter.run(shutdown.clone()));
        let webhooks = WebhookSender::new(
            Arc::clone(store),
            Arc::clone(clock),
            Arc::new(webhook::Client::new()?),
            WebhookKeys::new(&self.secret),
            WebhookMetrics::register(&mut self.health.registry()),
        );
        self.spawn_vital(tasks, shutdown, "webhooks", webhooks.run(shutdown.clone()));
        Ok(trouble)
    }

    /// Spawns a loop without which the server must not go on: if it ends before the
    /// shutdown (it panicked), the server shuts down, not ready from that moment.
    fn spawn_vital(
        &self,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
        name: &'static str,
        run: impl Future<Output = ()> + Send + 'static,
    ) {
        let (health, shutdown, died) = (self.health.clone(), shutdown.clone(), self.died.clone());
        let task = tokio::spawn(run);
        tasks.spawn(async move {
            if let Err(error) = task.await {
                tracing::error!(%error, "the {name} died; shutting down");
                health.not_ready(name, "died");
                died.store(true, Ordering::Release);
                shutdown.cancel();
            }
        });
    }
}
