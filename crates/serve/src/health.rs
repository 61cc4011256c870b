//! `/livez`, `/readyz` and `/metrics`.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use dialtone_contract::{ErrorCode, Problem};
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use serde_json::json;

use crate::address_file;
use crate::lag::LoopLag;
use crate::metrics::HttpMetrics;
use crate::problem::{self, ProblemResponse};

/// What is asked for by machines that watch, not by clients.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/metrics"];
/// Media type of the metrics.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a process tells about itself. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Health(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lag: LoopLag,
    lag_max: Gauge<f64, AtomicU64>,
    nonce: Option<String>,
    reasons: Mutex<BTreeMap<String, String>>,
    registry: Mutex<Registry>,
    http: HttpMetrics,
}

impl Health {
    /// Ready until a reason against it is given; measures the loop from now on.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start() -> Self {
        let mut registry = Registry::default();
        let http = HttpMetrics::register(&mut registry);
        let lag_max = Gauge::default();
        registry.register_with_unit(
            "loop_lag_max",
            "Largest lag of the event loop since the start",
            Unit::Seconds,
            lag_max.clone(),
        );
        Self(Arc::new(Shared {
            lag: LoopLag::start(),
            lag_max,
            nonce: address_file::nonce(),
            reasons: Mutex::default(),
            registry: Mutex::new(registry),
            http,
        }))
    }

    /// `part` keeps the process from taking work, because of `why`.
    pub fn not_ready(&self, part: &str, why: impl Into<String>) {
        let (part, why) = (part.to_owned(), why.into());
        let before = self.reasons().insert(part.clone(), why.clone());
        if before.as_ref() != Some(&why) {
            tracing::info!(part, why, "not ready");
        }
    }

    /// `part` no longer keeps the process from taking work.
    pub fn ready(&self, part: &str) {
        if self.reasons().remove(part).is_some() {
            tracing::info!(part, "ready");
        }
    }

    /// Whether no part has a reason against taking work.
    pub fn is_ready(&self) -> bool {
        self.reasons().is_empty()
    }

    /// The lag of the event loop.
    pub fn lag(&self) -> &LoopLag {
        &self.0.lag
    }

    /// Where metrics are registered. Held locked by the result: register and let go, and
    /// never across an await.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts and times every request of `router`, those without a route too, but not
    /// the probes of [`Health::routes`], which would blur the figures. Goes around the
    /// finished router, since routes merged in later are not seen.
    pub fn observe(&self, router: Router) -> Router {
        let http = self.0.http.clone();
        router.layer(from_fn(move |request: Request, next: Next| {
            let probe = PROBES.contains(&request.uri().path());
            let recorder = (!probe).then(|| http.begin(request.method()));
            async move {
                let response = next.run(request).await;
                if let Some(recorder) = recorder {
                    recorder.end(response.status());
                }
                response
            }
        }))
    }

    /// `/livez`, `/readyz` and `/metrics`.
    pub fn routes(&self) -> Router {
        let (live, ready, metrics) = (self.clone(), self.clone(), self.clone());
        let [livez, readyz, scrape] = PROBES;
        Router::new()
            .route(livez, get(async move || live.livez()))
            .route(readyz, get(async move || ready.readyz()))
            .route(scrape, get(async move || metrics.metrics()))
    }

    fn reasons(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That this is answered at all is the whole of it: no dependency is asked.
    fn livez(&self) -> Response {
        let mut body = json!({
            "status": "live",
            "pid": std::process::id(),
            "loop_lag_max_ms": millis(self.0.lag.max()),
            "loop_lag_last_minute_ms": millis(self.0.lag.max_last_minute()),
        });
        if let Some(nonce) = &self.0.nonce {
            body["nonce"] = json!(nonce);
        }
        axum::Json(body).into_response()
    }

    fn readyz(&self) -> Response {
        let reasons = self.reasons().clone();
        if reasons.is_empty() {
            return axum::Json(json!({ "status": "ready" })).into_response();
        }
        let detail: Vec<_> = reasons.iter().map(|(part, why)| format!("{part}: {why}")).collect();
        let problem = Problem::new(ErrorCode::NotReady, detail.join("; "));
        problem::respond(&problem, Some(("reasons", json!(reasons))))
    }

    fn metrics(&self) -> Response {
        self.0.lag_max.set(self.0.lag.max().as_secs_f64());
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.registry()) {
            Ok(()) => (StatusCode::OK, [(CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
            Err(error) => {
                tracing::error!(%error, "cannot write the metrics");
                ProblemResponse::from(ErrorCode::Internal).into_response()
            }
        }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
