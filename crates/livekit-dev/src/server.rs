use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State as Extract};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use dialtone_clock::rng_for;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::options::{Options, OptionsError};
use crate::state::State;
use crate::webhook::Webhooks;
use crate::{agent_socket, rtc_socket, twirp};

/// How long a shutdown waits for connections to end and webhooks to go out.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// What every connection and request shares.
pub(crate) type Shared = Arc<Server>;

pub(crate) struct Server {
    pub(crate) options: Options,
    state: Mutex<State>,
    changed: watch::Receiver<u64>,
    /// Fires when the server stops.
    pub(crate) closing: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// The state, locked. Never hold it over an await.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes at every change of the state.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// Runs a task that is dropped when the server stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.closing.clone().run_until_cancelled_owned(task));
    }

    /// Runs a connection: it sees by itself that the server stops, and says goodbye.
    pub(crate) fn spawn_connection(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }
}

/// A LiveKit-compatible development server.
pub struct LivekitDev;

impl LivekitDev {
    /// Sets the server up: a handle, and the routes to serve.
    ///
    /// The routes upgrade connections, so serve them with upgrades enabled. Must be
    /// called on a tokio runtime: the sweep of empty rooms starts at once.
    ///
    /// # Errors
    /// If an option cannot be worked with.
    #[expect(clippy::new_ret_no_self, reason = "the server is its handle and its routes")]
    pub fn new(options: Options) -> Result<(Handle, Router), OptionsError> {
        let tasks = TaskTracker::new();
        let webhooks = Webhooks::new(&options, tasks.clone())?;
        let rng = rng_for(options.seed, &[b"livekit-dev"]);
        let state = State::new(options.clone(), rng, webhooks);
        let server = Arc::new(Server {
            changed: state.changed.subscribe(),
            options,
            state: Mutex::new(state),
            closing: CancellationToken::new(),
            tasks,
        });
        let router = routes(&server);
        server.spawn(sweep(Arc::clone(&server)));
        Ok((Handle { server }, router))
    }
}

async fn sweep(server: Shared) {
    let mut ticks = tokio::time::interval(server.options.timings.sweep);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            now = ticks.tick() => server.state().sweep(now.into_std()),
            () = server.closing.cancelled() => return,
        }
    }
}

fn routes(server: &Shared) -> Router {
    let routes = Router::new()
        .route("/", get(async || "OK"))
        .route("/twirp/{service}/{method}", any(crate::room_service::twirp))
        .route("/agent", get(agent_socket::agent))
        .route("/rtc", get(rtc_socket::rtc))
        .route("/rtc/v1", get(rtc_socket::rtc))
        .route("/rtc/validate", get(rtc_socket::validate))
        .route("/rtc/v1/validate", get(rtc_socket::validate))
        .layer(from_fn(from_anywhere))
        // Not LiveKit's, asks for no token, and is no page's business: outside the layer.
        .route("/dev/workers", get(workers))
        .with_state(Arc::clone(server));
    // The path is put right before it is routed, hence a router around the routes.
    Router::new().fallback_service(routes).layer(from_fn(straight))
}

/// `//` in a path is `/`, as in LiveKit.
async fn straight(mut request: Request, next: Next) -> Response {
    collapse_slashes(request.uri_mut());
    next.run(request).await
}

/// Browsers may call from anywhere, as in LiveKit.
async fn from_anywhere(request: Request, next: Next) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    let any = HeaderValue::from_static("*");
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, any.clone());
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, any);
    // `*` does not cover Authorization (Fetch standard, section 3.3.4).
    let allowed = HeaderValue::from_static("*, Authorization");
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    response
}

fn collapse_slashes(uri: &mut Uri) {
    if !uri.path().contains("//") {
        return;
    }
    let mut path = uri.path().to_owned();
    while path.contains("//") {
        path = path.replace("//", "/");
    }
    if let Some(query) = uri.query() {
        path = format!("{path}?{query}");
    }
    let mut parts = uri.clone().into_parts();
    if let Ok(path) = path.parse() {
        parts.path_and_query = Some(path);
        if let Ok(collapsed) = Uri::from_parts(parts) {
            *uri = collapsed;
        }
    }
}

/// `GET /dev/workers`: not LiveKit's but ours, for harnesses.
async fn workers(Extract(server): Extract<Shared>) -> Response {
    if !server.options.introspection {
        return twirp::TwirpError::bad_route("introspection is off").into_response();
    }
    axum::Json(view(&server)).into_response()
}

/// The answer of `GET /dev/workers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workers {
    /// Registered workers.
    pub workers: Vec<WorkerView>,
    /// Open rooms.
    pub rooms: usize,
    /// Dispatches that were given up for want of a worker.
    pub dispatches_dropped: u64,
    /// Webhooks that could not be delivered.
    pub webhooks_dropped: u64,
}

/// A registered worker, as seen from outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerView {
    /// `AW_..`.
    pub worker_id: String,
    /// The name that it registered for.
    pub agent_name: String,
    /// `WS_AVAILABLE` or `WS_FULL`.
    pub status: String,
    /// Reported load, 0 to 1.
    pub load: f32,
    /// Jobs that the server counts on it.
    pub job_count: usize,
    /// Jobs that it was offered.
    pub jobs_offered: u64,
    /// Offers that it accepted.
    pub jobs_accepted: u64,
    /// Offers that it let time out.
    pub jobs_unanswered: u64,
}

fn view(server: &Server) -> Workers {
    let state = server.state();
    let workers = state.workers.values().map(|worker| WorkerView {
        worker_id: worker.id.clone(),
        agent_name: worker.registered.agent_name.clone(),
        status: worker.status.as_str_name().to_owned(),
        load: worker.load,
        job_count: worker.jobs.len(),
        jobs_offered: worker.offered,
        jobs_accepted: worker.accepted,
        jobs_unanswered: worker.unanswered,
    });
    Workers {
        workers: workers.collect(),
        rooms: state.rooms.len(),
        dispatches_dropped: state.dispatches_dropped,
        webhooks_dropped: state.webhooks.dropped(),
    }
}

/// Looks into a running server, and stops it.
#[derive(Clone)]
pub struct Handle {
    server: Shared,
}

impl Handle {
    /// Workers, rooms and drops, now.
    pub fn workers(&self) -> Workers {
        view(&self.server)
    }

    /// Waits until the workers, rooms and drops are as `wanted`.
    pub async fn wait_for(&self, wanted: impl Fn(&Workers) -> bool) -> Workers {
        let mut changed = self.server.changed();
        loop {
            changed.mark_unchanged();
            let now = self.workers();
            if wanted(&now) || changed.changed().await.is_err() {
                return now;
            }
        }
    }

    /// Stops: participants and workers are told, webhooks go out, both for a few
    /// seconds at most.
    pub async fn shutdown(&self) {
        self.server.closing.cancel();
        self.server.tasks.close();
        if tokio::time::timeout(SHUTDOWN, self.server.tasks.wait()).await.is_err() {
            tracing::warn!("stopped with connections or webhooks still open");
        }
    }
}
