//! Services started together, waited for together, stopped together.

mod ready;
mod service;
mod stop;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dialtone_child::process::{self, Process};
use dialtone_child::{Child, Spec, Strength, Supervisor, strength};
use dialtone_clock::{TIMELINE_ENV, Timeline};
use dialtone_contract::ErrorCode;
use tokio::task::JoinSet;

use crate::envelope::millis;
use crate::event::{Bus, Event};
use crate::failure::Failure;
use crate::http::Http;
use crate::run_dir::{RunDir, TMP};
use crate::seed;

pub use ready::proc_state;
pub use service::{Port, Service};
pub use stop::Teardown;

/// Lines of log that a death carries as evidence.
const LAST_LINES: usize = 20;
/// How long the log of a dead process may take to be whole.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Between TERM and KILL. Our services drain; in a test nobody needs what they still do.
pub const GRACE: Duration = Duration::from_secs(3);

/// How a stack is run.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The `supervise` binary.
    pub supervise: PathBuf,
    /// The timeline that all processes share.
    pub timeline: Timeline,
    /// How long the stack may take to be ready.
    pub ready_within: Duration,
}

/// A running stack.
pub struct Stack {
    members: Vec<Member>,
    run_id: String,
    tmp: PathBuf,
    http: Http,
    bus: Bus,
    ready_within: Duration,
}

/// One process of a running stack. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Member {
    /// The service.
    pub name: String,
    /// Base URL of its HTTP surface.
    pub url: String,
    /// What it must show as its own.
    nonce: String,
    port: u16,
    started: Instant,
    child: Arc<Child>,
}

impl Stack {
    /// Starts all services at once.
    ///
    /// # Errors
    /// If one cannot be started; those that were are ended.
    pub async fn start(
        services: Vec<Service>,
        setting: &Setting,
        dir: &RunDir,
        bus: &Bus,
    ) -> Result<Self, Failure> {
        if let Strength::Weaker { notice } = strength() {
            bus.emit(Event::Warning { text: notice.to_owned() });
        }
        let supervisor = Supervisor::new(&setting.supervise);
        let mut starting = JoinSet::new();
        for (place, service) in services.into_iter().enumerate() {
            let nonce = seed::nonce();
            let (name, url, port) = (service.name.clone(), service.port.url(), service.port.number);
            let spec = spec(service, setting, dir, &nonce);
            let supervisor = supervisor.clone();
            let bus = bus.clone();
            starting.spawn(async move {
                let started = Instant::now();
                let child = supervisor.start(spec).await.map_err(|error| {
                    Failure::new(ErrorCode::ChildExited, format!("failed to {error}"))
                })?;
                bus.emit(Event::ServiceStarted {
                    name: name.clone(),
                    pid: child.pid(),
                    url: url.clone(),
                    duration_ms: millis(started.elapsed()),
                });
                let child = Arc::new(child);
                Ok((place, Member { name, url, nonce, port, started, child }))
            });
        }
        let mut members = Vec::new();
        while let Some(started) = starting.join_next().await {
            members.push(started.map_err(|error| {
                Failure::new(ErrorCode::Internal, format!("a start broke off: {error}"))
            })??);
        }
        members.sort_by_key(|(place, _)| *place);
        Ok(Self {
            members: members.into_iter().map(|(_, member)| member).collect(),
            run_id: dir.run_id().to_owned(),
            tmp: dir.join(TMP),
            http: Http::default(),
            bus: bus.clone(),
            ready_within: setting.ready_within,
        })
    }

    /// The processes, in the order of their start.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The client that talks to them.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Waits for the first death among the processes.
    pub async fn death(&self) -> Failure {
        let mut waiting = JoinSet::new();
        for member in self.members.clone() {
            let bus = self.bus.clone();
            waiting.spawn(async move { member.death(&bus).await });
        }
        match waiting.join_next().await {
            Some(Ok(failure)) => failure,
            // A stack of nothing never dies.
            _ => std::future::pending().await,
        }
    }
}

impl Member {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// What it must show as its own.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The processes that it has started and that still run. Empty where the system does not tell.
    pub fn offspring(&self) -> Vec<Process> {
        let below = process::descendants(self.child.supervisor_pid()).into_iter();
        below.filter(|process| process.pid != self.pid() && !process.zombie).collect()
    }

    /// The end of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        self.child.log_tail(lines)
    }

    /// Waits for its end and tells it.
    async fn death(&self, bus: &Bus) -> Failure {
        let exit = self.child.wait().await;
        let lived = self.started.elapsed();
        let _ = tokio::time::timeout(LAST_WORDS, self.child.wait_gone()).await;
        bus.emit(Event::ServiceExited {
            name: self.name.clone(),
            pid: self.pid(),
            exit: exit.to_string(),
        });
        let message = format!(
            "{} (pid {}) ended with {exit}, {} after its start",
            self.name,
            self.pid(),
            crate::span::human(lived)
        );
        let tail = self.child.log_tail(LAST_LINES);
        let lines: Vec<&str> = tail.lines().collect();
        let evidence = if lines.is_empty() { vec!["(its log is empty)"] } else { lines };
        Failure::new(ErrorCode::ChildExited, message).evidence(evidence)
    }
}

fn spec(service: Service, setting: &Setting, dir: &RunDir, nonce: &str) -> Spec {
    let mut spec = Spec::new(&service.name, service.program)
        .args(&service.args)
        .run_tag(dir.run_id())
        .log(dir.log(&service.name))
        .grace(GRACE)
        .env(TIMELINE_ENV, setting.timeline.to_string())
        .env("DIALTONE_NONCE", nonce)
        .env("TMPDIR", dir.join(TMP))
        .listener(service.listener, service.port.listener);
    for (key, value) in &service.env {
        spec = spec.env(key, value);
    }
    spec
}
