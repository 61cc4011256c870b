//! Looking after a run that goes on: liveness, loop lag, registered workers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dialtone_contract::{ErrorCode, TEST_WORKER_NAME};
use dialtone_serve::lag::LoopLag;
use tokio::time::{Instant, sleep};

use super::stack_of::{DIALTONE, TEST_WORKER};
use crate::abort::{Judge, Observation, Process, Worker, Workers, no_worker};
use crate::failure::Failure;
use crate::lag::{HARNESS, LagBook};
use crate::stack::{Member, Stack, proc_state};

/// Between two looks.
const POLL: Duration = Duration::from_millis(400);
/// How long the list of workers may take.
const LIST: Duration = Duration::from_secs(1);
/// How long a worker that is ready may take to be in the list.
const REGISTERED: Duration = Duration::from_secs(3);
/// How long it may take to be there again: its pauses between two tries grow to 10 s.
const REGISTERED_AGAIN: Duration = Duration::from_secs(15);
/// Between two looks at a list that does not name it yet.
const SOON: Duration = Duration::from_millis(50);

/// What is known about a run that goes on. Cheap to clone.
#[derive(Clone)]
pub struct Watch {
    lag: Arc<Mutex<LagBook>>,
    dials: Arc<Mutex<u32>>,
    taken: Arc<Mutex<Taken>>,
    /// Counts the lives of the LiveKit: one that comes back has forgotten its workers, and may
    /// give their names again.
    life: Arc<AtomicU32>,
    own: LoopLag,
}

impl Watch {
    /// Measures the harness's own loop from now on.
    pub fn start() -> Self {
        let (lag, dials, taken, life) = Default::default();
        Self { lag, dials, taken, life, own: LoopLag::start() }
    }

    /// Notes the dial claims so far.
    pub fn dials(&self, dials: u32) {
        *self.dials.lock().unwrap_or_else(PoisonError::into_inner) = dials;
    }

    /// The lags so far, the harness's own included.
    pub fn lag(&self) -> LagBook {
        let mut book = self.lag.lock().unwrap_or_else(PoisonError::into_inner).clone();
        book.note(HARNESS, self.own.max().as_secs_f64() * 1e3);
        book
    }

    /// Waits until the worker that dispatches ask for is registered. A worker of another name is
    /// ready too, and a batch in which nobody shall answer looks no different without any.
    ///
    /// # Errors
    /// If it is not registered within [`REGISTERED`], where the LiveKit tells.
    pub async fn registered(
        &self,
        stack: &Stack,
        livekit_dev: Option<&str>,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + REGISTERED;
        loop {
            let Some(workers) = self.workers(stack, livekit_dev).await else { return Ok(()) };
            if ours(&workers).next().is_some() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(no_worker(&workers));
            }
            sleep(SOON).await;
        }
    }

    /// Waits until our worker is registered with a LiveKit that has come back.
    ///
    /// # Errors
    /// If it is not within [`REGISTERED_AGAIN`].
    pub async fn registered_again(
        &self,
        stack: &Stack,
        livekit_dev: Option<&str>,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + REGISTERED_AGAIN;
        loop {
            let workers = self.workers(stack, livekit_dev).await.unwrap_or_default();
            if ours(&workers).next().is_some() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(no_worker(&workers));
            }
            sleep(SOON).await;
        }
    }

    /// The jobs that our workers took, over all their registrations; `None` where the LiveKit
    /// does not tell. Asked once more, as jobs end between two looks.
    ///
    /// # Errors
    /// If the simulated LiveKit no longer tells.
    pub async fn jobs_taken(
        &self,
        stack: &Stack,
        livekit_dev: Option<&str>,
    ) -> Result<Option<u64>, Failure> {
        if livekit_dev.is_none() {
            return Ok(None);
        }
        if self.workers(stack, livekit_dev).await.is_none() {
            let message = "livekit-dev does not tell which worker took the jobs";
            return Err(Failure::new(ErrorCode::TargetLost, message));
        }
        Ok(Some(self.taken.lock().unwrap_or_else(PoisonError::into_inner).jobs()))
    }

    /// Looks a last time before a service is killed on purpose: what a worker took is forgotten
    /// with its registration.
    pub async fn before_kill(&self, stack: &Stack, livekit_dev: Option<&str>) {
        self.workers(stack, livekit_dev).await;
        if let Some(member) = stack.member(DIALTONE) {
            self.ask(stack, member).await;
        }
    }

    /// The LiveKit was killed: what it counts begins anew.
    pub fn livekit_killed(&self) {
        self.life.fetch_add(1, Ordering::Relaxed);
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
                // Whoever killed it waits for its return, and not for ever.
                if self.ask(stack, member).await || member.is_struck() {
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
                workers: self.workers(stack, livekit_dev).await,
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

    /// The registered workers, where the LiveKit tells.
    async fn workers(&self, stack: &Stack, livekit_dev: Option<&str>) -> Option<Vec<Worker>> {
        let url = format!("{}/dev/workers", livekit_dev?);
        let life = self.life.load(Ordering::Relaxed);
        let list: Workers = stack.http().json(&url, LIST).await.ok()?;
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).note(life, &list.workers);
        Some(list.workers)
    }
}

fn ours(workers: &[Worker]) -> impl Iterator<Item = &Worker> {
    workers.iter().filter(|worker| worker.agent_name == TEST_WORKER_NAME)
}

/// The jobs that each registration of our worker took, by life of the LiveKit and name in it.
/// The list forgets those that are gone.
#[derive(Clone, Debug, Default)]
struct Taken(BTreeMap<(u32, String), u64>);

impl Taken {
    fn note(&mut self, life: u32, workers: &[Worker]) {
        for worker in ours(workers) {
            let known = self.0.entry((life, worker.worker_id.clone())).or_default();
            *known = worker.jobs_accepted.max(*known);
        }
    }

    fn jobs(&self) -> u64 {
        self.0.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_count_over_registrations_and_only_ours() {
        let worker = |id: &str, name: &str, jobs| Worker {
            worker_id: id.into(),
            agent_name: name.into(),
            jobs_accepted: jobs,
            jobs_unanswered: 0,
        };
        let mut taken = Taken::default();
        taken.note(0, &[worker("AW_1", TEST_WORKER_NAME, 3), worker("AW_9", "other", 50)]);
        taken.note(0, &[]);
        taken.note(0, &[worker("AW_2", TEST_WORKER_NAME, 1)]);
        taken.note(0, &[worker("AW_2", TEST_WORKER_NAME, 4)]);
        assert_eq!(taken.jobs(), 7);
        taken.note(1, &[worker("AW_1", TEST_WORKER_NAME, 2)]);
        assert_eq!(taken.jobs(), 9, "the same name in another life is another worker");
    }
}
