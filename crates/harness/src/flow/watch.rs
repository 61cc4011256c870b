//! Looking after a run that goes on: liveness, loop lag, registered workers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dialtone_contract::ErrorCode;
use dialtone_serve::lag::LoopLag;
use tokio::time::{Instant, sleep};

use super::stack_of::TEST_WORKER;
use crate::abort::{Judge, Observation, Process, Worker, Workers};
use crate::failure::Failure;
use crate::lag::LagBook;
use crate::stack::{Member, Stack, proc_state};

/// Between two looks.
const POLL: Duration = Duration::from_millis(400);
/// How long the list of workers may take.
const LIST: Duration = Duration::from_secs(1);

/// What is known about a run that goes on. Cheap to clone.
#[derive(Clone)]
pub struct Watch {
    lag: Arc<Mutex<LagBook>>,
    dials: Arc<Mutex<u32>>,
    own: LoopLag,
}

impl Watch {
    /// Measures the harness's own loop from now on.
    pub fn start() -> Self {
        Self { lag: Arc::default(), dials: Arc::default(), own: LoopLag::start() }
    }

    /// Notes the dial claims so far.
    pub fn dials(&self, dials: u32) {
        *self.dials.lock().unwrap_or_else(PoisonError::into_inner) = dials;
    }

    /// The lags so far, the harness's own included.
    pub fn lag(&self) -> LagBook {
        let mut book = self.lag.lock().unwrap_or_else(PoisonError::into_inner).clone();
        book.note("the harness", self.own.max().as_secs_f64() * 1e3);
        book
    }

    /// Asks every process for its lag once more. A batch can end well although a process
    /// has stopped meanwhile, because deadlines end what it left; that is no passing run.
    ///
    /// # Errors
    /// If a process does not answer any more.
    pub async fn last_look(&self, stack: &Stack) -> Result<(), Failure> {
        for member in stack.members() {
            if self.ask(stack, member).await {
                continue;
            }
            let (name, pid) = (&member.name, member.pid());
            let why = match proc_state(pid) {
                Some('T' | 't') => "is stopped (SIGSTOP, process state T)",
                _ => "does not answer /livez",
            };
            let code =
                if *name == TEST_WORKER { ErrorCode::WorkerSilent } else { ErrorCode::TargetLost };
            return Err(Failure::new(
                code,
                format!("{name} (pid {pid}) {why} at the end of the run"),
            ));
        }
        Ok(())
    }

    /// Looks on until waiting is pointless; ends with the reason.
    pub async fn until_pointless(&self, stack: &Stack, livekit_dev: Option<&str>) -> Failure {
        let began = Instant::now();
        let mut judge = Judge::default();
        let mut heard: BTreeMap<String, Instant> = BTreeMap::new();
        loop {
            let mut processes = Vec::new();
            for member in stack.members() {
                let last = heard.entry(member.name.clone()).or_insert(began);
                if self.ask(stack, member).await {
                    *last = Instant::now();
                }
                processes.push(Process {
                    name: member.name.clone(),
                    pid: member.pid(),
                    is_worker: member.name == TEST_WORKER,
                    state: proc_state(member.pid()),
                    silent: last.elapsed(),
                });
            }
            let observation = Observation {
                at: began.elapsed(),
                workers: workers(stack, livekit_dev).await,
                processes,
                dials: *self.dials.lock().unwrap_or_else(PoisonError::into_inner),
            };
            if let Some(failure) = judge.judge(&observation) {
                return failure;
            }
            sleep(POLL).await;
        }
    }

    /// Whether the process answered.
    async fn ask(&self, stack: &Stack, member: &Member) -> bool {
        let Ok(live) = member.livez(stack.http()).await else { return false };
        let mut book = self.lag.lock().unwrap_or_else(PoisonError::into_inner);
        book.note(&member.name, live.loop_lag_max_ms);
        true
    }
}

/// The registered workers, where the LiveKit tells.
async fn workers(stack: &Stack, livekit_dev: Option<&str>) -> Option<Vec<Worker>> {
    let url = format!("{}/dev/workers", livekit_dev?);
    let list: Workers = stack.http().json(&url, LIST).await.ok()?;
    Some(list.workers)
}
