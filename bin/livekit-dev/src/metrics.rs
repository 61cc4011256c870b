use std::fmt;

use dialtone_livekit_dev::Handle;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The server's state as metrics, read when they are asked for.
pub struct ServerMetrics(pub Handle);

impl fmt::Debug for ServerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerMetrics")
    }
}

impl Collector for ServerMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = self.0.workers();
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let jobs = now.workers.iter().map(|worker| worker.job_count).sum();
        let gauges = [
            ("livekit_dev_rooms", "Open rooms.", count(now.rooms)),
            ("livekit_dev_workers", "Registered agent workers.", count(now.workers.len())),
            ("livekit_dev_jobs", "Jobs that agent workers hold.", count(jobs)),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            let encoder = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(encoder)?;
        }
        let counters = [
            (
                "livekit_dev_dispatches_dropped",
                "Dispatches given up for want of a worker.",
                now.dispatches_dropped,
            ),
            ("livekit_dev_webhooks_dropped", "Webhooks not delivered.", now.webhooks_dropped),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            let encoder = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(encoder)?;
        }
        Ok(())
    }
}
