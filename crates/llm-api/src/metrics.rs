use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use dialtone_inference::engine::{FinishReason, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::Worker;
use crate::worker::Shared;

/// Bounds in seconds of what a caller waits for, with an edge at the 600 ms that users ask of a
/// call.
const WAIT_BOUNDS: [f64; 18] = [
    0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0, 1.5, 2.5,
    5.0,
];
/// Bounds in seconds of the time between two tokens.
const TOKEN_BOUNDS: [f64; 18] = [
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15,
    0.25, 0.6, 1.0, 5.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Finished {
    finish_reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sent {
    result: &'static str,
}

/// What the worker counts itself. What the engine counts is read when it is asked for.
#[derive(Clone)]
pub struct Metrics {
    first_token: Histogram,
    next_token: Histogram,
    queued: Histogram,
    requests: Family<Finished, Counter>,
    heartbeats: Family<Sent, Counter>,
    engine: Arc<std::sync::OnceLock<Weak<Shared>>>,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            first_token: Histogram::new(WAIT_BOUNDS),
            next_token: Histogram::new(TOKEN_BOUNDS),
            queued: Histogram::new(WAIT_BOUNDS),
            requests: Family::default(),
            heartbeats: Family::default(),
            engine: Arc::default(),
        };
        registry.register_with_unit(
            "worker_time_to_first_token",
            "From the request to its first text",
            Unit::Seconds,
            metrics.first_token.clone(),
        );
        registry.register_with_unit(
            "worker_inter_token_latency",
            "From one text of an answer to the next",
            Unit::Seconds,
            metrics.next_token.clone(),
        );
        registry.register_with_unit(
            "worker_request_queue_time",
            "From the request to its slot",
            Unit::Seconds,
            metrics.queued.clone(),
        );
        registry.register(
            "worker_requests",
            "Requests that were taken, by how they ended",
            metrics.requests.clone(),
        );
        registry.register(
            "worker_heartbeats",
            "Heartbeats to the hive, by what became of them",
            metrics.heartbeats.clone(),
        );
        registry.register_collector(Box::new(Figures(Arc::clone(&metrics.engine))));
        metrics
    }

    /// Shows the figures of this worker's engine. Weak, so that the metrics keep no model.
    pub fn watch(&self, worker: &Worker) {
        // A second worker on one registry changes nothing.
        let _ = self.engine.set(Arc::downgrade(&worker.0));
    }

    pub fn first_token(&self, after: Duration) {
        self.first_token.observe(after.as_secs_f64());
    }

    pub fn next_token(&self, after: Duration) {
        self.next_token.observe(after.as_secs_f64());
    }

    pub fn queued(&self, after: Duration) {
        self.queued.observe(after.as_secs_f64());
    }

    pub fn finished(&self, finish_reason: &'static str) {
        self.requests.get_or_create(&Finished { finish_reason }).inc();
    }

    pub fn heartbeat(&self, delivered: bool) {
        let result = if delivered { "sent" } else { "failed" };
        self.heartbeats.get_or_create(&Sent { result }).inc();
    }
}

/// How an answer ended, as OpenAI's API has it where it has a word for it.
pub fn word(reason: &FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Cancelled => "cancelled",
        FinishReason::Shutdown => "shutdown",
        FinishReason::Error(_) => "error",
    }
}

/// The engine's own figures.
struct Figures(Arc<std::sync::OnceLock<Weak<Shared>>>);

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(shared) = self.0.get().and_then(Weak::upgrade) else { return Ok(()) };
        let stats = Worker(shared).stats().unwrap_or_default();
        let gauges = [
            ("worker_requests_running", "Requests in a slot", ratio(stats.slots_busy, 1)),
            ("worker_requests_waiting", "Requests that wait for one", ratio(stats.queue_depth, 1)),
            ("worker_slots", "Requests that can run at once", ratio(stats.slots_total, 1)),
            (
                "worker_kv_cache_usage_ratio",
                "Share of the memory of past tokens that running requests hold",
                ratio(stats.kv_used, stats.kv_total),
            ),
            ("worker_tokens_per_second", "Tokens generated of late", stats.tokens_per_s),
        ];
        for (name, help, value) in gauges {
            one(&mut encoder, name, help, None, &ConstGauge::new(value))?;
        }
        for (name, help, value) in counters(&stats) {
            one(&mut encoder, name, help, None, &ConstCounter::new(value))?;
        }
        Ok(())
    }
}

fn counters(stats: &Stats) -> [(&'static str, &'static str, u64); 3] {
    [
        (
            "worker_prompt_tokens",
            "Tokens of prompts, the remembered ones included",
            stats.prompt_tokens + stats.cached_tokens,
        ),
        (
            "worker_prefix_cache_hits_tokens",
            "Tokens of prompts that were remembered and not run again",
            stats.cached_tokens,
        ),
        ("worker_generation_tokens", "Tokens generated", stats.generated_tokens),
    ]
}

fn one(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    metric: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
}

#[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
fn ratio(part: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}
