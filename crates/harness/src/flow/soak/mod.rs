//! `worker:soak`: many clients that go away from one LLM worker, and nothing that stays of them.

mod memory;
mod visit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dialtone_clock::Timeline;
use dialtone_contract::{ErrorCode, ExitCode};
use serde_json::Value;
use tokio::task::JoinSet;

use self::memory::Memory;
use self::visit::{Leaves, Seen, Visit};
use super::verdict::teardown;
use super::worker::client::{Answer, Ask, Client};
use super::worker::{BUILT_IN, Binaries, Model};
use super::{Guard, Limits};
use crate::envelope::{Envelope, millis};
use crate::event::Event;
use crate::failure::Failure;
use crate::run::{Identity, Run};
use crate::stack::{Port, Service, Setting, Stack};

/// The command.
pub const COMMAND: &str = "worker:soak";

/// Its checks, in order.
pub const CHECKS: &[&str] =
    &["ready", "clients", "slots", "memory", "descriptors", "answer", "shutdown", "teardown"];

const LLM_WORKER: &str = "llm-worker";
/// Requests that run at once.
const SLOTS: &str = "8";
/// Memory for past tokens of the built-in model in MiB: full long before half of the clients have
/// come, so that what still grows then is something else. What other models have unless told
/// otherwise is full as soon: a few dozen of their answers.
const KV_MIB: &str = "8";
/// How long the worker may take to have forgotten the last client.
const SETTLE: Duration = Duration::from_secs(5);
/// Descriptors that may be open more than before: connections that the kernel still closes.
const DESCRIPTORS: usize = 8;
/// Failures of clients that are shown.
const SHOWN: usize = 5;
/// Tokens of the answer before and after.
const TOKENS: u64 = 128;

/// What shall be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model.
    pub model: Model,
    /// Clients in all.
    pub clients: u32,
    /// Clients at once.
    pub at_once: u32,
    /// Of 100 clients, those that read slowly.
    pub slow: u32,
    /// How long the worker may take to be ready, and each of its answers.
    pub within: Duration,
    /// Where the processes are.
    pub binaries: Binaries,
}

/// The first event of such a run.
pub fn opening(identity: &Identity, options: &Options) -> Event {
    Event::RunStarted {
        command: identity.command.to_owned(),
        run_id: identity.run_id.clone(),
        seed: identity.seed,
        real: ["processes", "HTTP", "model", "time"].map(str::to_owned).to_vec(),
        simulated: vec!["clients (in this process)".to_owned()],
        plan: format!(
            "{} clients, {} at once, {} % read slowly, on {}",
            options.clients,
            options.at_once,
            options.slow,
            options.model.argument()
        ),
    }
}

/// Runs it. Whatever happens, the worker is gone and the result written when this returns.
pub async fn run(run: Run, options: &Options, limits: Limits) -> Envelope {
    let guard = Guard::new(limits);
    let began = Instant::now();
    guard.step.set("starting the worker");
    let (stack, port) = match guard.watch(start(&run, options)).await {
        Ok(started) => started,
        Err(failure) => {
            run.broke_off("ready", began.elapsed(), &failure);
            run.error(failure);
            teardown(&run, Instant::now(), &Stack::sweep(run.dir()).await);
            guard.last_signal(&run);
            return run.finish();
        }
    };
    let client = Client {
        http: stack.http().clone(),
        port,
        within: options.within,
        model: "default".to_owned(),
        seed: run.identity().seed,
    };
    let soak = Soak { run: &run, options, guard: &guard, stack: &stack, client };
    if let Err(failure) = soak.through(began).await {
        // Told at once: taking the stack down can take seconds.
        run.error(failure);
    }
    let down = Instant::now();
    let left = stack.stop().await;
    teardown(&run, down, &left);
    guard.last_signal(&run);
    run.finish()
}

async fn start(run: &Run, options: &Options) -> Result<(Stack, u16), Failure> {
    let port = Port::bind(LLM_WORKER, 0)?;
    let number = port.number;
    let model = options.model.argument();
    let mut arguments = vec!["--model", &model, "--slots", SLOTS, "--queue", SLOTS];
    if options.model == Model::BuiltIn {
        arguments.extend(["--kv-mib", KV_MIB]);
    }
    let service =
        Service::new(LLM_WORKER, &options.binaries.llm_worker, "http", port).args(arguments);
    let setting = Setting {
        supervise: options.binaries.supervise.clone(),
        timeline: Timeline::REAL,
        ready_within: options.within,
    };
    let stack = Stack::start(vec![service], &setting, run.dir(), run.bus()).await?;
    run.artifact(&format!("log_{LLM_WORKER}"), &format!("{LLM_WORKER}.log"));
    Ok((stack, number))
}

/// What a look found, if it is not a failure.
enum Found {
    /// As it must be.
    Holds(String),
    /// Nothing that could be judged.
    Unknown(&'static str),
}

impl From<String> for Found {
    fn from(said: String) -> Self {
        Self::Holds(said)
    }
}

struct Soak<'a> {
    run: &'a Run,
    options: &'a Options,
    guard: &'a Guard,
    stack: &'a Stack,
    client: Client,
}

impl Soak<'_> {
    async fn through(&self, began: Instant) -> Result<(), Failure> {
        let Self { run, guard, stack, .. } = self;
        guard.step.set("waiting for the worker to be ready");
        if let Err(failure) = guard.watch(stack.ready()).await {
            run.broke_off("ready", began.elapsed(), &failure);
            return Err(failure);
        }
        let before = self.watched("ready", self.answer()).await?;
        run.pass("ready", began.elapsed(), format!("{} tokens", before.usage.completion_tokens));
        let memory = Arc::new(Memory::of(self.pid()));
        let descriptors = memory.descriptors();
        self.check("clients", self.clients(&memory)).await?;
        // A worker whose slots are taken may answer nothing more, which would be told as a death.
        if self.check("slots", self.forgotten()).await? {
            self.check("memory", async { memory.judge(run) }).await?;
            self.check("descriptors", async { self.descriptors(descriptors, &memory) }).await?;
            self.check("answer", self.same(&before)).await?;
        }
        self.check("shutdown", self.shutdown()).await.map(|_| ())
    }

    fn pid(&self) -> u32 {
        self.stack.members().first().map_or(0, |member| member.pid())
    }

    async fn answer(&self) -> Result<Answer, Failure> {
        self.client.ask(&Ask::new(BUILT_IN.0, TOKENS)).await
    }

    /// Lets all clients come and go.
    async fn clients(&self, memory: &Arc<Memory>) -> Result<String, Failure> {
        let began = Instant::now();
        let (next, failed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (seed, port) = (self.run.identity().seed, self.client.port);
        let Options { clients, slow, within, .. } = *self.options;
        let mut coming = JoinSet::new();
        for _ in 0..self.options.at_once {
            let (next, failed) = (Arc::clone(&next), Arc::clone(&failed));
            let memory = Arc::clone(memory);
            coming.spawn(async move {
                let mut done = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    // One that fails is enough; others would only fail as slowly.
                    if number >= clients || failed.load(Ordering::Relaxed) {
                        return done;
                    }
                    let visit = Visit::plan(seed, number, slow);
                    let seen = visit.make(port, within).await;
                    failed.fetch_or(seen.is_err(), Ordering::Relaxed);
                    memory.look(number, clients);
                    done.push((visit, seen));
                }
            });
        }
        let mut done = Vec::new();
        while let Some(some) = coming.join_next().await {
            done.extend(some.map_err(|error| {
                Failure::new(ErrorCode::Internal, format!("a client broke off: {error}"))
            })?);
        }
        self.judge(&done, began.elapsed())
    }

    fn judge(
        &self,
        done: &[(Visit, Result<Seen, String>)],
        took: Duration,
    ) -> Result<String, Failure> {
        let failed: Vec<&String> =
            done.iter().filter_map(|(_, seen)| seen.as_ref().err()).collect();
        if let Some(first) = failed.first() {
            let message = format!("{} of {} clients failed: {first}", failed.len(), done.len());
            return Err(Failure::new(ErrorCode::StreamBroken, message)
                .evidence(failed.into_iter().take(SHOWN).cloned()));
        }
        let seen = || done.iter().flat_map(|(_, seen)| seen);
        let refused: u32 = seen().map(|seen| seen.refused).sum();
        let whole = seen().filter(|seen| seen.whole).count();
        let events: u32 = seen().map(|seen| seen.events).sum();
        let blind = done.iter().filter(|(v, _)| matches!(v.leaves, Leaves::Blindly(_))).count();
        let slow = done.iter().filter(|(visit, _)| !visit.pause.is_zero()).count();
        let left = done.len() - whole;
        if left == 0 {
            let message = "every answer was complete before its client could leave";
            return Err(Failure::new(ErrorCode::WrongAnswer, message));
        }
        self.run.metric("clients", done.len() as f64);
        self.run.metric("clients_left_early", left as f64);
        self.run.metric("clients_refused_tries", f64::from(refused));
        self.run.metric("clients_per_s", done.len() as f64 / took.as_secs_f64().max(1e-6));
        Ok(format!(
            "{left} left early ({blind} without a look), {whole} heard all, {slow} read slowly; \
             {events} events, {refused} times no room"
        ))
    }

    /// Nothing runs, waits, or holds room any more.
    async fn forgotten(&self) -> Result<String, Failure> {
        let began = Instant::now();
        loop {
            let (_, info): (u16, Value) = self.client.get("/info").await?;
            let engine = &info["engine"];
            let number = |name: &str| engine[name].as_u64().unwrap_or(u64::MAX);
            let names = ["slots_busy", "queue_depth", "kv_used"];
            let held: Vec<_> = names.into_iter().filter(|name| number(name) != 0).collect();
            if held.is_empty() {
                self.run.metric("settle_ms", millis(began.elapsed()));
                let cancelled = number("cancelled");
                return Ok(format!(
                    "all free {:.0} ms after the last client, {cancelled} answers cancelled",
                    millis(began.elapsed())
                ));
            }
            if began.elapsed() > SETTLE {
                let held = held.iter().map(|name| format!("{name} {}", number(name)));
                let message = format!(
                    "{} s after the last client there is still {}",
                    SETTLE.as_secs(),
                    held.collect::<Vec<_>>().join(", ")
                );
                return Err(
                    Failure::new(ErrorCode::SlotLeaked, message).evidence([engine.to_string()])
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn descriptors(&self, before: Option<usize>, memory: &Memory) -> Result<Found, Failure> {
        let (Some(before), Some(after)) = (before, memory.descriptors()) else {
            return Ok(Found::Unknown("the system does not tell"));
        };
        self.run.metric("descriptors", after as f64);
        if after > before + DESCRIPTORS {
            let message = format!("{after} descriptors are open, {before} were before");
            return Err(Failure::new(ErrorCode::Leaked, message));
        }
        Ok(format!("{after} open, {before} before").into())
    }

    async fn same(&self, before: &Answer) -> Result<String, Failure> {
        let after = self.answer().await?;
        if after.text == before.text {
            return Ok("the same as before".to_owned());
        }
        let message = "the worker answers otherwise than before";
        Err(Failure::new(ErrorCode::WrongAnswer, message)
            .evidence([format!("before: {}", before.text), format!("after:  {}", after.text)]))
    }

    async fn shutdown(&self) -> Result<String, Failure> {
        let began = Instant::now();
        let Some(member) = self.stack.members().first() else {
            return Err(Failure::new(ErrorCode::Internal, "there is no worker"));
        };
        match member.stop().await {
            Some(exit) if exit.success() => {
                Ok(format!("SIGTERM, exit 0 after {:.0} ms", millis(began.elapsed())))
            }
            other => {
                let how = other.map_or_else(|| "not at all".to_owned(), |exit| exit.to_string());
                let message = format!("the worker ended with {how} when it was told to end");
                Err(Failure::new(ErrorCode::CheckFailed, message)
                    .evidence(member.log_tail(3).lines()))
            }
        }
    }

    /// Lets a check run; its outcome is recorded. Whether it holds; an error ends the run.
    async fn check<F: Into<Found>>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<F, Failure>>,
    ) -> Result<bool, Failure> {
        let began = Instant::now();
        match self.watched(name, work).await.map(Into::into) {
            Ok(Found::Holds(said)) => {
                self.run.pass(name, began.elapsed(), said);
                Ok(true)
            }
            Ok(Found::Unknown(why)) => {
                self.run.skip(name, began.elapsed(), why);
                Ok(true)
            }
            Err(failure) if matches!(failure.exit, ExitCode::CheckFailed | ExitCode::Leaked) => {
                self.run.fail(name, began.elapsed(), failure);
                Ok(false)
            }
            Err(failure) => {
                self.run.broke_off(name, began.elapsed(), &failure);
                Err(failure)
            }
        }
    }

    async fn watched<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.guard.step.set(format!("at the check `{name}`"));
        // The end that is asked for is no death.
        if name == "shutdown" {
            return self.guard.watch(work).await;
        }
        tokio::select! {
            biased;
            dead = self.stack.death() => Err(dead),
            done = self.guard.watch(work) => done,
        }
    }
}
