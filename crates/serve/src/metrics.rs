use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds of the duration histogram in seconds.
const BOUNDS: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0, 1.5, 2.5, 5.0];
/// Status of a request whose client went away before its answer.
const GONE: u16 = 499;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: &'static str,
    status: u32,
}

/// Counts and times the requests of a server. The labels hold no path and no id, so the
/// number of series is bounded.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    requests: Family<Labels, Counter>,
    duration: Histogram,
}

impl HttpMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self { requests: Family::default(), duration: Histogram::new(BOUNDS) };
        registry.register("http_requests", "Requests answered", metrics.requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "From the head of the request to the head of its response",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        metrics
    }

    /// Counts a request that begins now; recorded when the result is dropped.
    pub fn begin(&self, method: &Method) -> Recorder {
        let method = label(method);
        Recorder { metrics: self.clone(), method, started: Instant::now(), status: None }
    }

    fn record(&self, method: &'static str, status: u16, took: Duration) {
        self.requests.get_or_create(&Labels { method, status: status.into() }).inc();
        self.duration.observe(took.as_secs_f64());
    }
}

/// One request. A guard, because a handler may also panic or be dropped.
pub struct Recorder {
    metrics: HttpMetrics,
    method: &'static str,
    started: Instant,
    status: Option<u16>,
}

impl Recorder {
    pub fn end(mut self, status: StatusCode) {
        self.status = Some(status.as_u16());
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let dropped = if std::thread::panicking() { 500 } else { GONE };
        let status = self.status.unwrap_or(dropped);
        self.metrics.record(self.method, status, self.started.elapsed());
    }
}

/// Clients choose the method freely; labels must not grow with their fancy.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
