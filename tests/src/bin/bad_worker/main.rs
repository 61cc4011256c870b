//! A worker that speaks like `llm-worker` and misbehaves as `BAD_WORKER` says: what the harness
//! must never take for a good one. Without the variable it behaves.

mod answers;
mod beats;
mod slots;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use dialtone_serve::health::Health;
use dialtone_serve::{Limits, ListenArgs, address_file, listen, serve, shutdown_signal};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::slots::Slots;

/// Requests at once.
const SLOTS: usize = 4;

/// What all routes share.
struct Shared {
    bad: String,
    args: Args,
    nonce: String,
    health: Health,
    slots: Slots,
    stop: CancellationToken,
}

impl Shared {
    fn is(&self, mode: &str) -> bool {
        self.bad == mode
    }

    fn backend(&self) -> &str {
        // The silent fallback that nobody must fall for.
        if self.is("falls_back") { "cpu" } else { &self.args.backend }
    }
}

/// The flags that matter here.
#[derive(Default)]
struct Args {
    model: String,
    backend: String,
    hive_url: String,
    worker_id: String,
    interval: Duration,
    listen_fd: Vec<String>,
}

impl Args {
    /// The name of the model, which need not be there.
    fn model_id(&self) -> String {
        let stem = Path::new(&self.model).file_stem();
        stem.map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

fn read(words: &[String]) -> Args {
    let mut args = Args::default();
    for pair in words.windows(2) {
        let value = pair[1].clone();
        match pair[0].as_str() {
            "--model" => args.model = value,
            "--backend" => args.backend = value,
            "--hive-url" => args.hive_url = value,
            "--worker-id" => args.worker_id = value,
            "--heartbeat-interval" => {
                let ms = value.trim_end_matches("ms").parse().unwrap_or(250);
                args.interval = Duration::from_millis(ms);
            }
            "--listen-fd" => args.listen_fd.push(value),
            _ => {}
        }
    }
    args
}

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let bad = std::env::var("BAD_WORKER").unwrap_or_default();
    match words.first().map(String::as_str) {
        Some("inspect") => return inspect(&bad).await,
        Some("backends") => return say(&backends(&bad), 0),
        _ => {}
    }
    if bad == "exits" {
        eprint(b"the moon is full\n");
        return ExitCode::from(7);
    }
    run(bad, read(&words)).await
}

async fn inspect(bad: &str) -> ExitCode {
    match bad {
        "junk_model" => {
            let detail = "its first bytes are not `GGUF`";
            let problem = json!({ "code": "model_invalid", "detail": detail, "hint": "fetch it" });
            say(&problem, 5)
        }
        "mute_inspect" => {
            eprint(b"illegal instruction\n");
            ExitCode::from(132)
        }
        "slow_inspect" => std::future::pending().await,
        _ => say(
            &json!({
                "name": "parrot", "architecture": "llama", "version": 3, "tensors": 2,
                "parameters": 1000, "bytes": 4000, "format": "F32", "context": 512, "vocab": 272,
                "sha256": "0".repeat(64),
            }),
            0,
        ),
    }
}

fn backends(bad: &str) -> Value {
    let cuda = match bad {
        "falls_back" => json!({
            "backend": "cuda", "built": true, "devices": [{ "index": 0, "name": "H200" }],
        }),
        "no_device" => json!({
            "backend": "cuda", "built": true, "devices": [], "reason": "libcuda.so.1 not found",
        }),
        _ => json!({ "backend": "cuda", "built": false, "devices": [] }),
    };
    let cpu = json!({
        "backend": "cpu", "built": true, "devices": [{ "index": 0, "name": "feathers" }],
    });
    let metal = json!({
        "backend": "metal", "built": false, "devices": [], "reason": "not in this build",
    });
    json!([cpu, cuda, metal])
}

async fn run(bad: String, args: Args) -> ExitCode {
    let listening = ListenArgs { listen_fd: args.listen_fd.clone(), ..ListenArgs::default() };
    let Ok(listener) = listen("http", &listening) else { return ExitCode::from(5) };
    let port = listener.local_addr().map_or(0, |address| address.port());
    if bad == "deaf" {
        std::future::pending::<()>().await;
    }
    let health = Health::start();
    health.not_ready("model", "loading, 40 %");
    let nonce = address_file::nonce().unwrap_or_default();
    let slots = Slots::new(SLOTS);
    let stop = match bad.as_str() {
        "ignores_term" => {
            drop(shutdown_signal());
            CancellationToken::new()
        }
        _ => shutdown_signal(),
    };
    let shared = Arc::new(Shared { bad, args, nonce, health: health.clone(), slots, stop });
    tokio::spawn(beats::send(Arc::clone(&shared), port));
    tokio::spawn(load(Arc::clone(&shared)));
    let router = Router::new()
        .route("/health", get(about))
        .route("/ready", get(ready))
        .route("/slots", get(slots_told))
        .route("/info", get(info))
        .route("/metrics", get(answers::metrics))
        .route("/v1/models", get(models))
        .route("/v1/chat/completions", post(answers::create))
        .with_state(Arc::clone(&shared));
    let router = match shared.is("stranger") {
        true => router.route("/livez", get(another)).merge(only_ready(&shared)),
        // Its figures are ours; the rest is as of every server.
        false => router.fallback_service(health.routes()),
    };
    let limits = Limits { drain: Duration::from_secs(2), ..Limits::default() };
    let _ = serve(listener, router, limits, shared.stop.clone()).await;
    if !shared.is("no_goodbye") {
        beats::goodbye(&shared, port).await;
    }
    ExitCode::from(u8::from(shared.is("ends_badly")))
}

/// Loading, which some do not survive and some never end.
async fn load(shared: Arc<Shared>) {
    let mut moments = tokio::time::interval(Duration::from_millis(40));
    moments.tick().await;
    moments.tick().await;
    match shared.bad.as_str() {
        "exits_loading" => {
            eprint(b"out of memory: need 9.4 GiB\n");
            std::process::exit(3);
        }
        "hangs" => return,
        "has_children" => {
            let _ = std::process::Command::new("sleep").arg("600").spawn();
        }
        "floods" => {
            std::thread::spawn(|| {
                let line = [b'x'; 4096];
                // More than two logs hold.
                for _ in 0..12_000 {
                    eprint(&line);
                    eprint(b"\n");
                }
            });
        }
        _ => {}
    }
    shared.health.ready("model");
}

async fn about(State(shared): State<Arc<Shared>>) -> Response {
    let (nonce, backend) = (&shared.nonce, shared.backend());
    axum::Json(json!({ "status": "ok", "nonce": nonce, "backend": backend })).into_response()
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    if shared.health.is_ready() {
        let free = SLOTS - shared.slots.busy();
        return axum::Json(json!({ "ready": true, "state": "idle", "slots_free": free }))
            .into_response();
    }
    let told = json!({ "ready": false, "state": "loading", "progress": 0.4 });
    (StatusCode::SERVICE_UNAVAILABLE, axum::Json(told)).into_response()
}

async fn slots_told(State(shared): State<Arc<Shared>>) -> Response {
    axum::Json(shared.slots.told()).into_response()
}

async fn info(State(shared): State<Arc<Shared>>) -> Response {
    let busy = shared.slots.busy();
    let engine = json!({ "slots_busy": busy, "queue_depth": 0, "kv_used": busy, "cancelled": 0 });
    axum::Json(json!({ "engine": engine })).into_response()
}

async fn models(State(shared): State<Arc<Shared>>) -> Response {
    let id = shared.args.model_id();
    axum::Json(json!({ "object": "list", "data": [{ "id": id, "object": "model" }] }))
        .into_response()
}

async fn another() -> Response {
    axum::Json(json!({ "status": "live", "nonce": "somebody else's", "pid": 1 })).into_response()
}

fn only_ready(shared: &Arc<Shared>) -> Router {
    Router::new().route("/readyz", get(|| async { "ok" })).with_state(Arc::clone(shared))
}

fn say(document: &Value, code: u8) -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{document}");
    ExitCode::from(code)
}

fn eprint(bytes: &[u8]) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(bytes);
}
