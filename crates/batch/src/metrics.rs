use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Bounds of latency histograms in seconds, with an edge at the 600 ms that users ask of
/// a call.
const BOUNDS: [f64; 18] = [
    0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0, 1.5,
    2.5, 5.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// What the pipeline counts. Labels are bounded: never a call, a room or a number.
#[derive(Clone)]
pub struct BatchMetrics {
    callbacks: Family<ResultLabel, Counter>,
    dispatch_seconds: Histogram,
    expiries: Counter,
    dispatches_failed: Counter,
}

impl Default for BatchMetrics {
    fn default() -> Self {
        Self {
            callbacks: Family::default(),
            dispatch_seconds: Histogram::new(BOUNDS),
            expiries: Counter::default(),
            dispatches_failed: Counter::default(),
        }
    }
}

impl BatchMetrics {
    /// Metrics that `registry` shows.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "batch_callbacks",
            "Callbacks of agents by what became of them",
            metrics.callbacks.clone(),
        );
        registry.register(
            "call_dispatch_duration_seconds",
            "Wall time from the claim's commit to LiveKit's answer",
            metrics.dispatch_seconds.clone(),
        );
        registry.register(
            "batch_deadlines_expired",
            "Attempts that a deadline ended",
            metrics.expiries.clone(),
        );
        registry.register(
            "batch_dispatches_failed",
            "Dispatches that LiveKit did not take",
            metrics.dispatches_failed.clone(),
        );
        metrics
    }

    pub(crate) fn callback(&self, result: &'static str) {
        self.callbacks.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn dispatched(&self, wall: std::time::Duration) {
        self.dispatch_seconds.observe(wall.as_secs_f64());
    }

    pub(crate) fn dispatch_failed(&self) {
        self.dispatches_failed.inc();
    }

    pub(crate) fn expired(&self, n: u64) {
        self.expiries.inc_by(n);
    }
}
