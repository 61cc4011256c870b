//! The stack of the batch pipeline, as services.

use dialtone_contract::limits;

use super::{Binaries, LiveKit};
use crate::failure::Failure;
use crate::run_dir::{DATA, RunDir};
use crate::stack::{Port, Service};

/// Key and secret of a LiveKit for development. On loopback only.
pub const DEV_KEYS: (&str, &str) = ("devkey", "secret");

/// The name of the platform's process in the stack.
pub const DIALTONE: &str = "dialtone";
/// The name of the LiveKit-compatible server in the stack.
pub const LIVEKIT_DEV: &str = "livekit-dev";
/// The name of the simulating worker in the stack.
pub const TEST_WORKER: &str = "test-worker";

/// What the stack shall be.
pub struct Wanted<'a> {
    /// The binaries.
    pub binaries: &'a Binaries,
    /// The LiveKit.
    pub livekit: &'a LiveKit,
    /// `--mode` of `livekit-dev`.
    pub livekit_mode: &'a str,
    /// Port of `livekit-dev`; 0 takes a free one.
    pub livekit_port: u16,
    /// Port of the API; 0 takes a free one.
    pub api_port: u16,
    /// Calls in flight at once.
    pub max_concurrent: u32,
    /// Seed of everything random.
    pub seed: u64,
}

/// The services, and where the API is.
#[derive(Debug)]
pub struct Planned {
    /// In the order of their start.
    pub services: Vec<Service>,
    /// Base URL of the API.
    pub api: String,
    /// Its port.
    pub api_port: u16,
    /// Base URL of `livekit-dev`, where it is part of the stack.
    pub livekit_dev: Option<String>,
}

/// Binds the ports and names the services.
///
/// # Errors
/// If a port cannot be bound.
pub fn plan(wanted: &Wanted<'_>, dir: &RunDir) -> Result<Planned, Failure> {
    let mut services = Vec::new();
    let (url, key, secret, livekit_dev) = match wanted.livekit {
        LiveKit::External { url, key, secret } => (url.clone(), key.clone(), secret.clone(), None),
        LiveKit::Simulated => {
            let port = Port::bind(LIVEKIT_DEV, wanted.livekit_port)?;
            let (ws, http) = (format!("ws://127.0.0.1:{}", port.number), port.url());
            let service = Service::new(LIVEKIT_DEV, &wanted.binaries.livekit_dev, "http", port)
                .args(["--mode", wanted.livekit_mode, "--seed", &wanted.seed.to_string()]);
            services.push(service);
            (ws, DEV_KEYS.0.to_owned(), DEV_KEYS.1.to_owned(), Some(http))
        }
    };
    let port = Port::bind(DIALTONE, wanted.api_port)?;
    let (api, api_port) = (port.url(), port.number);
    let data = dir.join(DATA).to_string_lossy().into_owned();
    let dialtone = Service::new(DIALTONE, &wanted.binaries.dialtone, "api", port).args([
        "serve",
        "--data-dir",
        &data,
    ]);
    let worker = Port::bind(TEST_WORKER, 0)?;
    let worker = Service::new(TEST_WORKER, &wanted.binaries.test_worker, "health", worker)
        .args(["--max-jobs", &max_jobs(wanted.max_concurrent).to_string()]);
    services.extend([dialtone, worker].map(|service| {
        service
            .env("LIVEKIT_URL", &url)
            .env("LIVEKIT_API_KEY", &key)
            .env("LIVEKIT_API_SECRET", &secret)
            .env("MAIN_API_BASE_URL", &api)
    }));
    Ok(Planned { services, api, api_port, livekit_dev })
}

/// Jobs that the worker takes at once. A job ends a little after its call, while the next one
/// begins already.
fn max_jobs(max_concurrent: u32) -> u32 {
    /// What the worker itself takes to be enough.
    const LEAST: u32 = 1000;
    max_concurrent.saturating_mul(2).max(LEAST)
}

/// Calls in flight at once, as a sentence part.
pub fn at_once(max_concurrent: u32) -> String {
    match max_concurrent {
        limits::MAX_CONCURRENT_DEFAULT => String::new(),
        n => format!(", {n} at once"),
    }
}
