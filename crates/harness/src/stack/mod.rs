//! Services started together, waited for together, stopped together.

mod member;
mod ready;
mod service;
mod stop;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use dialtone_child::{Spec, Strength, Supervisor, strength};
use dialtone_clock::{TIMELINE_ENV, Timeline};
use dialtone_contract::ErrorCode;
use tokio::task::JoinSet;

use crate::envelope::millis;
use crate::event::{Bus, Event};
use crate::failure::Failure;
use crate::http::Http;
use crate::run_dir::{RunDir, TMP};
use crate::seed;

pub use member::{Member, Struck};
pub use ready::proc_state;
pub use service::{Port, Service};
pub use stop::Teardown;

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
                Ok((place, Member::new(name, url, nonce, port, child, started)))
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

    /// The process of this name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
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
