//! What a worker tells its hive (`POST /heartbeat/workers`).

use serde::{Deserialize, Serialize};

/// Where a worker stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerHealth {
    /// It answers, its model is being loaded.
    Starting,
    /// It takes work.
    Healthy,
    /// It finishes what runs and takes nothing new.
    Draining,
    /// It will never take work.
    Failed,
    /// Its last words.
    Stopped,
}

impl WorkerHealth {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Draining => "draining",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// One heartbeat. Unknown fields are ignored, so that a newer worker can talk to an older hive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The worker, the same over all its beats.
    pub worker_id: String,
    /// When it was sent, RFC 3339 in UTC, by the worker's clock.
    pub timestamp: String,
    /// Where it stands.
    pub health_status: WorkerHealth,
    /// 0 for the first beat of a process, then one more each: a beat that was lost shows as a
    /// gap, a process that was restarted as a new beginning.
    pub seq: u64,
    /// What the process was started with (`DIALTONE_NONCE`), if anything: tells it from a
    /// stranger that uses its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// Who it is.
    pub worker: WorkerDetails,
    /// Requests that it can run at once.
    pub slots_total: usize,
    /// Requests that run.
    pub slots_busy: usize,
    /// Requests that wait.
    pub queue_depth: usize,
    /// Tokens generated per second of late.
    pub tokens_per_sec: f64,
    /// Memory that the process holds, in bytes; `None` where the system does not tell.
    #[serde(default)]
    pub rss_bytes: Option<u64>,
}

/// Who a worker is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerDetails {
    /// Same as [`Heartbeat::worker_id`].
    pub id: String,
    /// Its process id.
    pub pid: u32,
    /// The model that it serves.
    pub model_id: String,
    /// `cpu`, `cuda`, `metal`, `vulkan`.
    pub backend: String,
    /// The device, as the backend names it: `avx512`, `0`.
    pub device: String,
    /// Where it serves HTTP.
    pub port: u16,
    /// `starting`, `idle`, `busy`, `draining`, `stopped`, `failed`.
    pub status: String,
    /// `llm-worker`.
    pub implementation: String,
    /// Version of the implementation.
    pub version: String,
}
