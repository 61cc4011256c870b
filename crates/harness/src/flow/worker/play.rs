//! The checks on a worker that runs, one after the other.

use std::future::Future;
use std::time::{Duration, Instant};

use dialtone_contract::wire::WorkerHealth;
use dialtone_contract::{ErrorCode, ExitCode};
use serde::Deserialize;
use serde_json::Value;

use super::answers::{Known, answers_of};
use super::beats::{self, Expected};
use super::setup::{Bench, SOON, Scene, size};
use super::{cancel, ms, restart, shutdown};
use crate::failure::Failure;
use crate::hive::Arrival;
use crate::span;
use crate::stack::{Member, Stack};

/// Regular beats that are waited for.
const BEATS: usize = 3;
/// After a check has failed: how long the news may take that its worker is dead.
const NEWS: Duration = Duration::from_millis(500);

/// A worker under test.
pub struct Play<'a> {
    bench: &'a Bench<'a>,
    stack: &'a Stack,
    scene: &'a mut Scene,
    began: Instant,
    slots: usize,
    known: Known,
}

/// What `/ready` says; only what is read here.
#[derive(Deserialize)]
struct Ready {
    ready: bool,
    state: String,
    #[serde(default)]
    progress: Option<f64>,
}

impl<'a> Play<'a> {
    /// Of this worker.
    pub fn new(
        bench: &'a Bench<'a>,
        stack: &'a Stack,
        scene: &'a mut Scene,
        began: Instant,
    ) -> Self {
        Self { bench, stack, scene, began, slots: 0, known: Known::default() }
    }

    /// Every check but the last two.
    ///
    /// # Errors
    /// If it makes no sense to go on: the worker died or answers nothing, or somebody ended the
    /// run. The check is recorded; the reason is told by the caller.
    pub async fn through(&mut self) -> Result<(), Failure> {
        self.ready().await?;
        let slots = self.check("health", self.health()).await?;
        self.slots = slots.unwrap_or_default();
        let asking = answers_of(self.bench, self.scene, self.slots);
        let found = self.check("inference", asking.inference()).await?;
        let (known, heard) = found.unwrap_or_default();
        self.known = known;
        // A worker that gives no right answer has nothing to show in the checks that compare.
        if let (Some(heard), Some(first)) = (heard, self.known.first.clone()) {
            self.check("stream", asking.stream(heard, &first)).await?;
            self.check("parallel", asking.parallel()).await?;
            if !self.cancel().await? {
                // With its slots taken it may answer nothing more, which would be told as a death.
                self.known = Known::default();
            }
        }
        if self.heartbeats().await? {
            self.restart().await?;
        }
        self.peak_memory();
        Ok(())
    }

    /// Tells it to end, in the middle of an answer.
    pub async fn shut_down(&mut self) {
        let Some(member) = self.member() else { return };
        self.bench.guard.step.set("at the check `shutdown`");
        let began = Instant::now();
        let answering = (&self.known, self.slots);
        let work = shutdown::watch(self.bench, self.scene, member, answering);
        match self.bench.guard.watch(work).await {
            Ok(said) => {
                self.bench.run.metric("shutdown_ms", ms(began.elapsed()));
                self.bench.run.pass("shutdown", began.elapsed(), said);
            }
            Err(failure) => {
                self.bench.run.broke_off("shutdown", began.elapsed(), &failure);
                self.bench.run.error(failure);
            }
        }
    }

    async fn ready(&self) -> Result<(), Failure> {
        let Bench { run, guard, .. } = self.bench;
        guard.step.set("waiting for the worker to be ready");
        match guard.watch(self.stack.ready()).await {
            Ok(()) => {
                let took = self.scene.started.elapsed();
                run.metric("ready_ms", ms(took));
                let said = format!("{} after its start", span::human(took));
                run.pass("ready", took, said);
                Ok(())
            }
            Err(failure) => {
                let failure = match failure.code {
                    ErrorCode::ReadyTimeout => self.how_far(failure).await,
                    _ => failure,
                };
                run.broke_off("ready", self.scene.started.elapsed(), &failure);
                Err(failure)
            }
        }
    }

    /// Adds how far the load had come.
    async fn how_far(&self, failure: Failure) -> Failure {
        let mut client = self.scene.client.clone();
        client.within = NEWS;
        let Ok((_, ready)) = client.get::<Ready>("/ready").await else {
            return failure.evidence(["/ready does not answer"]);
        };
        let percent = ready.progress.unwrap_or_default() * 100.0;
        let mut told = failure;
        told.message = format!("{}; it was {} at {percent:.0} %", told.message, ready.state);
        told
    }

    /// It is ours, and what was asked for; the number of its slots.
    async fn health(&self) -> Result<(usize, String), Failure> {
        let Scene { client, chosen, .. } = &*self.scene;
        let wrong = |why: String| Err(Failure::new(ErrorCode::WrongAnswer, why));
        let (status, health): (u16, Value) = client.get("/health").await?;
        let Some(member) = self.member() else { return wrong("there is no worker".to_owned()) };
        if status != 200 {
            return wrong(format!("/health answered {status} of a worker that is ready"));
        }
        if health["nonce"].as_str() != Some(member.nonce()) {
            return Err(Failure::new(
                ErrorCode::NotReady,
                "what answers at /health is not the worker that was started: its nonce is another",
            ));
        }
        let backend = health["backend"].as_str().unwrap_or("none");
        if backend != chosen.backend.as_str() {
            let asked = chosen.backend.as_str();
            return wrong(format!("the worker runs on `{backend}` where `{asked}` was asked for"));
        }
        let (status, ready): (u16, Ready) = client.get("/ready").await?;
        if status != 200 || !ready.ready {
            return wrong(format!("/ready says {status} `{}` where /readyz is 200", ready.state));
        }
        let (_, models): (u16, Value) = client.get("/v1/models").await?;
        let model = models["data"][0]["id"].as_str().unwrap_or("none");
        if model != client.model {
            return wrong(format!("the worker serves the model `{model}`, not `{}`", client.model));
        }
        let n = client.slots().await?.len();
        if n == 0 {
            return wrong("/slots shows none".to_owned());
        }
        Ok((n, format!("nonce ours, model {model}, backend {backend}, {n} slots")))
    }

    /// Whether every slot was free again.
    async fn cancel(&self) -> Result<bool, Failure> {
        let work = cancel::watch(&self.scene.client, &self.scene.info, self.slots);
        let began = Instant::now();
        match self.watched(work).await {
            Ok(left) => {
                self.bench.run.metric("cancel_ms", ms(left.freed));
                let said = format!(
                    "clients left, every slot free after {:.1} ms; {} of {} tokens generated",
                    ms(left.freed),
                    left.made,
                    left.asked
                );
                self.bench.run.pass("cancel", began.elapsed(), said);
                Ok(true)
            }
            Err(failure) => self.went_wrong("cancel", began, failure).map(|_: Option<()>| false),
        }
    }

    /// Whether they are as they must be.
    async fn heartbeats(&self) -> Result<bool, Failure> {
        let work = async {
            let book = self.scene.hive.book();
            let interval = self.bench.options.interval;
            let healthy = |arrivals: &[Arrival]| {
                let beats = arrivals.iter().flat_map(|arrival| &arrival.beat);
                beats.filter(|beat| beat.health_status == WorkerHealth::Healthy).count()
            };
            // Twice the time that they should take; then what there is must speak for itself.
            let most = interval * u32::try_from(2 * (BEATS + 1)).unwrap_or(1);
            let most = most + Duration::from_millis(500);
            book.until(most, |arrivals, _| healthy(arrivals) > BEATS).await;
            let arrivals = book.arrivals();
            let seen = match beats::judge(&arrivals, &self.expected(), Instant::now()) {
                Ok(seen) => seen,
                Err(failure) => return Err(self.or_silence(failure).await),
            };
            let rss = seen.rss_bytes.map_or_else(String::new, |rss| format!(", rss {}", size(rss)));
            let said = format!(
                "{} beats: starting, then healthy; at most {} ms apart at {} ms, seq gapless{rss}",
                seen.count,
                seen.gap_p99.as_millis(),
                interval.as_millis()
            );
            self.bench.run.metric("heartbeat_gap_p99_ms", ms(seen.gap_p99).round());
            Ok(((), said))
        };
        self.check("heartbeats", work).await.map(|seen| seen.is_some())
    }

    async fn restart(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        let expected = self.expected();
        let work = restart::watch(self.scene, &expected, &self.known);
        let (stack, guard) = (self.stack, self.bench.guard);
        guard.step.set("at the check `hive_restart`");
        let done = tokio::select! {
            biased;
            dead = stack.death() => Err(dead),
            done = guard.watch(work) => done,
        };
        match done {
            Ok((resumed, said)) => {
                self.bench.run.metric("hive_restart_ms", ms(resumed));
                self.bench.run.pass("hive_restart", began.elapsed(), said);
                Ok(())
            }
            Err(failure) => {
                let failure = self.or_death(failure).await;
                self.went_wrong("hive_restart", began, failure).map(|_: Option<()>| ())
            }
        }
    }

    fn expected(&self) -> Expected {
        let Scene { worker_id, chosen, client, .. } = &*self.scene;
        let member = self.member();
        Expected {
            worker_id: worker_id.clone(),
            nonce: member.map(|member| member.nonce().to_owned()).unwrap_or_default(),
            pid: member.map_or(0, Member::pid),
            port: client.port,
            model_id: client.model.clone(),
            backend: chosen.backend.as_str(),
            slots: self.slots,
            interval: self.bench.options.interval,
        }
    }

    fn member(&self) -> Option<&'a Member> {
        self.stack.members().first()
    }

    /// The largest memory of its life: the kernel's word, else the worker's own.
    fn peak_memory(&self) {
        let status = self.member().and_then(|member| {
            std::fs::read_to_string(format!("/proc/{}/status", member.pid())).ok()
        });
        let beats = self.scene.hive.book().arrivals();
        let told = beats.iter().flat_map(|arrival| &arrival.beat).filter_map(|beat| beat.rss_bytes);
        if let Some(peak) = status.as_deref().and_then(high_water).or(told.max()) {
            self.bench.run.metric("peak_rss_bytes", super::count(peak));
        }
        self.bench.run.metric("worker_s", self.began.elapsed().as_secs_f64());
    }

    /// Lets a check run; its outcome is recorded. `None` if it failed and others can still be run.
    async fn check<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<(T, String), Failure>>,
    ) -> Result<Option<T>, Failure> {
        let began = Instant::now();
        self.bench.guard.step.set(format!("at the check `{name}`"));
        match self.watched(work).await {
            Ok((done, said)) => {
                self.bench.run.pass(name, began.elapsed(), said);
                Ok(Some(done))
            }
            Err(failure) => self.went_wrong(name, began, failure),
        }
    }

    async fn watched<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let done = tokio::select! {
            biased;
            dead = self.stack.death() => Err(dead),
            done = self.bench.guard.watch(work) => done,
        };
        match done {
            Ok(done) => Ok(done),
            Err(failure) => Err(self.or_death(failure).await),
        }
    }

    /// What a worker that answers nothing any more has broken is told as its silence.
    async fn or_silence(&self, failure: Failure) -> Failure {
        let mut client = self.scene.client.clone();
        client.within = client.within.min(SOON);
        match client.slots().await {
            Err(silent) if silent.code == ErrorCode::TargetLost => {
                let message = format!("the worker answers no more: {}", silent.message);
                Failure::new(ErrorCode::TargetLost, message).evidence([failure.message])
            }
            _ => failure,
        }
    }

    /// What a death has broken is told as the death.
    async fn or_death(&self, failure: Failure) -> Failure {
        let of_us = [ExitCode::Interrupted, ExitCode::Terminated, ExitCode::Deadline];
        if failure.code == ErrorCode::ChildExited || of_us.contains(&failure.exit) {
            return failure;
        }
        tokio::time::timeout(NEWS, self.stack.death()).await.unwrap_or(failure)
    }

    fn went_wrong<T>(
        &self,
        name: &str,
        began: Instant,
        failure: Failure,
    ) -> Result<Option<T>, Failure> {
        if failure.exit == ExitCode::CheckFailed {
            self.bench.run.fail(name, began.elapsed(), failure);
            return Ok(None);
        }
        self.bench.run.broke_off(name, began.elapsed(), &failure);
        Err(failure)
    }
}

/// The high-water mark of a process's memory in bytes, from `/proc/<pid>/status`.
fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_in_bytes() {
        assert_eq!(high_water("VmPeak:\t 9 kB\nVmHWM:\t   62464 kB\n"), Some(63_963_136));
        assert_eq!(high_water("VmPeak:\t 9 kB\n"), None);
    }
}
