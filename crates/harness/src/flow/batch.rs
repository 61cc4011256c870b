//! `batch:test`: a whole test batch through a whole stack, and everything that must then be true.

use std::time::{Duration, Instant};

use dialtone_clock::{TimeScale, Timeline};
use dialtone_contract::wire::{BatchStatus, OutcomeMode, TestBatchRequest, TestOptions};
use dialtone_contract::{BatchState, ErrorCode, OutcomeWeights, PlannedOutcome};

use super::follow::{self, Api};
use super::judge::{self, Asked};
use super::stack_of::{self, Planned, Wanted};
use super::watch::Watch;
use super::{Binaries, Guard, Limits, LiveKit, verify};
use crate::envelope::{Envelope, Invariant};
use crate::event::Event;
use crate::failure::Failure;
use crate::invariant::{self, Verified};
use crate::prom::Samples;
use crate::run::{Identity, Run};
use crate::stack::{Setting, Stack, Teardown};
use crate::tally::Tally;

/// The command.
pub const COMMAND: &str = "batch:test";

/// Its checks, in order.
pub const CHECKS: &[&str] =
    &["ready", "trigger", "counts", "attempts", "false_expiries", "invariants", "teardown"];

/// The voice and the user of a fresh store.
const VOICE: &str = "demo";
const USER: i64 = 1;

/// How long the metrics may take.
const METRICS: Duration = Duration::from_secs(5);

/// What shall be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many calls shall end how.
    pub mix: OutcomeWeights,
    /// Whether that is kept exactly.
    pub mode: OutcomeMode,
    /// The timeline's factor.
    pub scale: TimeScale,
    /// Calls in flight at once.
    pub max_concurrent: u32,
    /// The LiveKit.
    pub livekit: LiveKit,
    /// How long the stack may take to be ready.
    pub ready_within: Duration,
    /// The binaries.
    pub binaries: Binaries,
}

impl Options {
    fn asked(&self) -> Asked {
        let attempts_max = TestOptions::default().max_retries + 1;
        Asked { mix: self.mix, mode: self.mode, attempts_max }
    }

    fn request(&self, seed: u64) -> TestBatchRequest {
        TestBatchRequest {
            voice_id: VOICE.to_owned(),
            initiated_by: USER,
            agent_id: None,
            from_number: None,
            total: u32::try_from(self.mix.total()).unwrap_or(u32::MAX),
            fail_count: self.mix.failed,
            stuck_count: self.mix.stuck,
            dropped_count: self.mix.dropped,
            seed: Some(seed),
            outcomes: self.mode,
            durations: Default::default(),
            options: TestOptions { max_concurrent: self.max_concurrent, ..TestOptions::default() },
        }
    }
}

/// The first event of such a run: what is real, what is simulated, what will be done.
pub fn opening(identity: &Identity, mix: OutcomeWeights, opening: &Opening) -> Event {
    let mut real = vec!["processes".to_owned(), "HTTP".to_owned(), "SQLite".to_owned()];
    let mut simulated = vec!["callees".to_owned()];
    match &opening.livekit {
        LiveKit::Simulated => simulated.insert(0, "LiveKit (livekit-dev)".to_owned()),
        LiveKit::External { url, .. } => real.push(format!("LiveKit at {url}")),
    }
    match opening.scale.factor() {
        1 => real.push("time".to_owned()),
        factor => simulated.push(format!("time x{factor}")),
    }
    let mode = match opening.mode {
        OutcomeMode::Exact => "exact",
        OutcomeMode::Weighted => "weighted",
    };
    Event::RunStarted {
        command: identity.command.to_owned(),
        run_id: identity.run_id.clone(),
        seed: identity.seed,
        real,
        simulated,
        plan: format!(
            "{} calls = {} ({mode}){}",
            mix.total(),
            judge::mix(mix),
            stack_of::at_once(opening.max_concurrent)
        ),
    }
}

/// What [`opening`] tells beside the mix.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The LiveKit.
    pub livekit: LiveKit,
    /// The timeline's factor.
    pub scale: TimeScale,
    /// Whether the mix is kept exactly.
    pub mode: OutcomeMode,
    /// Calls in flight at once.
    pub max_concurrent: u32,
}

/// Runs it. Whatever happens, the stack is down and the result written when this returns.
pub async fn run(run: Run, options: &Options, limits: Limits) -> Envelope {
    let guard = Guard::new(limits);
    let began = Instant::now();
    let started = guard.watch(start(&run, options, &guard)).await;
    let (stack, planned) = match started {
        Ok(started) => started,
        Err(failure) => {
            run.broke_off("ready", began.elapsed(), &failure);
            run.error(failure);
            teardown(&run, Instant::now(), &Stack::sweep(run.dir()).await);
            return run.finish();
        }
    };
    let watch = Watch::start();
    let driven = drive(&run, options, &guard, &watch, &stack, &planned, began).await;
    match &driven {
        Ok(_) => watch.last_look(&stack).await,
        // Told at once: taking the stack down can take seconds.
        Err(failure) => run.error(failure.clone()),
    }
    let down = Instant::now();
    let left = stack.stop().await;
    let lag = watch.lag();
    run.metric("loop_lag_max_ms", lag.max_ms().round());
    let too_slow = lag.too_slow();
    if let Some(failure) = &too_slow {
        run.error(failure.clone());
    }
    if let Ok(done) = driven {
        let recount = async {
            guard.step.set("recounting the batch from its rows");
            verify::recount(&options.binaries.dialtone, &done.batch, run.dir()).await
        };
        let recount = guard.watch(recount).await;
        judge_all(&run, options, &done, recount, too_slow.as_ref());
    }
    teardown(&run, down, &left);
    run.finish()
}

/// A batch that has ended.
struct Done {
    batch: String,
    status: BatchStatus,
    tally: Tally,
    report: Result<(), String>,
}

async fn start(run: &Run, options: &Options, guard: &Guard) -> Result<(Stack, Planned), Failure> {
    guard.step.set("starting the stack");
    let wanted = Wanted {
        binaries: &options.binaries,
        livekit: &options.livekit,
        livekit_mode: "oss",
        livekit_port: 0,
        api_port: 0,
        seed: run.identity().seed,
    };
    let mut planned = stack_of::plan(&wanted, run.dir())?;
    let setting = Setting {
        supervise: options.binaries.supervise.clone(),
        timeline: Timeline::starting_now(options.scale),
        ready_within: options.ready_within,
    };
    let services = std::mem::take(&mut planned.services);
    let stack = Stack::start(services, &setting, run.dir(), run.bus()).await?;
    for member in stack.members() {
        run.artifact(&format!("log_{}", member.name), &format!("{}.log", member.name));
    }
    Ok((stack, planned))
}

/// From started to ended, or to the reason why it never will be.
async fn drive(
    run: &Run,
    options: &Options,
    guard: &Guard,
    watch: &Watch,
    stack: &Stack,
    planned: &Planned,
    began: Instant,
) -> Result<Done, Failure> {
    guard.step.set("waiting for the stack to be ready");
    let ready = guard.watch(stack.ready()).await;
    match ready {
        Ok(()) => {
            run.pass("ready", began.elapsed(), format!("{} services", stack.members().len()));
        }
        Err(failure) => {
            // The check has failed for this very reason; it is told once.
            run.broke_off("ready", began.elapsed(), &failure);
            return Err(failure);
        }
    }
    let livekit_dev = planned.livekit_dev.as_deref();
    let work = async {
        tokio::select! {
            biased;
            done = work(run, options, guard, watch, stack, &planned.api) => done,
            dead = stack.death() => Err(dead),
            pointless = watch.until_pointless(stack, livekit_dev) => Err(pointless),
        }
    };
    guard.watch(work).await
}

async fn work(
    run: &Run,
    options: &Options,
    guard: &Guard,
    watch: &Watch,
    stack: &Stack,
    base: &str,
) -> Result<Done, Failure> {
    let api = Api { http: stack.http(), base };
    let asked = options.asked();
    guard.step.set("triggering the batch");
    let began = Instant::now();
    let request = options.request(run.identity().seed);
    let batch = match api.trigger(&request, run.dir()).await {
        Ok(triggered) => triggered.batch_id.to_string(),
        Err(failure) => {
            run.broke_off("trigger", began.elapsed(), &failure);
            return Err(failure);
        }
    };
    run.pass("trigger", began.elapsed(), format!("batch {batch}"));
    let factor = options.scale.factor();
    let followed = Instant::now();
    let tell = |status: &BatchStatus, progress| {
        watch.dials(status.dials);
        run.simulated(followed.elapsed() * factor);
        follow::tell(run.bus(), &guard.step, progress);
    };
    let status = api.follow(&batch, factor, tell).await?;
    run.simulated(followed.elapsed() * factor);
    let tally = api.entries(&batch, asked.attempts_max, &guard.step).await?;
    let report = api.report(&status).await;
    metrics(run, asked, &status, &tally);
    server_metrics(run, stack, base).await;
    Ok(Done { batch, status, tally, report })
}

/// The figures that the API gives.
fn metrics(run: &Run, asked: Asked, status: &BatchStatus, tally: &Tally) {
    run.metric("entries", f64::from(status.total_calls));
    run.metric("entries_completed", f64::from(status.completed_calls));
    run.metric("entries_failed", f64::from(status.failed_calls));
    run.metric("attempts", f64::from(status.attempts));
    run.metric("dials", f64::from(status.dials));
    run.metric("false_expiries", f64::from(tally.false_expiries.count));
    if asked.mode == OutcomeMode::Exact {
        for plan in PlannedOutcome::ALL {
            run.metric(plan.as_str(), f64::from(tally.line(*plan).as_planned));
        }
        return;
    }
    // Without a plan per entry, stuck and dropped cannot be told apart from outside.
    use dialtone_contract::Outcome::{Completed, Failed, TimeoutUnclaimed};
    for (name, outcome) in
        [("completed", Completed), ("failed", Failed), ("unclaimed", TimeoutUnclaimed)]
    {
        run.metric(name, f64::from(tally.ended(outcome)));
    }
}

/// The figures that only the server has.
async fn server_metrics(run: &Run, stack: &Stack, base: &str) {
    let answer = stack.http().get(&format!("{base}/metrics"), &[], METRICS).await;
    let text = answer.map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
    let samples = Samples::parse(&text.unwrap_or_default());
    let callbacks = |result| samples.sum("batch_callbacks_total", &[("result", result)]);
    match callbacks("applied") {
        Some(applied) => run.metric("callbacks", applied),
        None => run.metric("callbacks", 0.0),
    }
    for result in ["duplicate", "late", "unknown"] {
        if let Some(n) = callbacks(result) {
            run.metric(&format!("callbacks_{result}"), n);
        }
    }
    for (name, q) in [("dispatch_p50_ms", 0.5), ("dispatch_p95_ms", 0.95)] {
        match samples.quantile("call_dispatch_duration_seconds", q) {
            Some(seconds) => run.metric(name, seconds * 1e3),
            None => run.bus().emit(Event::Warning {
                text: format!("{name} is unknown: dialtone's metrics show no dispatch"),
            }),
        }
    }
}

/// Every check on a batch that has ended.
fn judge_all(
    run: &Run,
    options: &Options,
    done: &Done,
    recount: Result<Verified, Failure>,
    too_slow: Option<&Failure>,
) {
    let asked = options.asked();
    run.bus().emit(Event::Table { rows: judge::table(asked, &done.tally), figures: figures(run) });
    let answers = [
        ("counts", judge::counts(asked, &done.tally)),
        ("attempts", judge::attempts(asked, &done.tally, &done.status)),
        ("false_expiries", judge::false_expiries(&done.tally)),
    ];
    for (name, answer) in answers {
        match (answer, too_slow) {
            (Ok(detail), _) => run.pass(name, Duration::ZERO, detail),
            // A machine that is too slow lets deadlines pass that nobody missed.
            (Err(failure), Some(slow)) => {
                run.skip(name, Duration::ZERO, format!("not judged ({slow}): {failure}"));
            }
            (Err(failure), None) => run.fail(name, Duration::ZERO, failure),
        }
    }
    if done.status.status != BatchState::Completed {
        let reason = done.status.status_reason.as_deref().unwrap_or("no reason given");
        let message = format!("the batch ended {} ({reason})", done.status.status);
        run.error(Failure::new(ErrorCode::CheckFailed, message));
    }
    judge_invariants(run, asked, done, recount);
}

fn judge_invariants(run: &Run, asked: Asked, done: &Done, recount: Result<Verified, Failure>) {
    let began = Instant::now();
    let from_outside =
        invariant::check(&done.status, &done.tally, asked.attempts_max, done.report.clone());
    from_outside.into_iter().for_each(|invariant| run.invariant(invariant));
    let recount = match recount {
        Ok(verified) => {
            let lines = verified.invariants.into_iter().map(Invariant::from);
            lines.for_each(|invariant| run.invariant(invariant));
            None
        }
        Err(failure) => Some(failure),
    };
    let (broken, total) = run.invariants();
    let names: Vec<String> = broken.iter().map(|invariant| invariant.name.clone()).collect();
    let hold = total - broken.len();
    run.bus().emit(Event::Invariants { hold, total, broken: names.clone() });
    if !broken.is_empty() {
        let evidence = broken.iter().map(|invariant| {
            format!(
                "{}: {}",
                invariant.name,
                invariant.detail.as_deref().unwrap_or("does not hold")
            )
        });
        let message = format!("{} of {total} do not hold: {}", broken.len(), names.join(", "));
        let failure = Failure::new(ErrorCode::InvariantBroken, message).evidence(evidence);
        run.fail("invariants", began.elapsed(), failure);
    } else if let Some(failure) = recount {
        run.fail("invariants", began.elapsed(), failure);
    } else {
        run.pass("invariants", began.elapsed(), format!("{hold}/{total} hold"));
    }
}

/// The last check of every run with a stack.
pub(super) fn teardown(run: &Run, began: Instant, left: &Teardown) {
    let clean = left.failure();
    run.invariant(Invariant {
        name: "nothing_leaked".to_owned(),
        holds: clean.is_none(),
        detail: clean.as_ref().map(ToString::to_string),
    });
    match clean {
        Some(failure) => run.fail("teardown", began.elapsed(), failure),
        None => run.pass("teardown", began.elapsed(), "no process, port or file left".to_owned()),
    }
}

fn figures(run: &Run) -> String {
    let value = |name| run.metric_value(name);
    let whole = |name| value(name).map(|n| format!("{n:.0}"));
    let fine = |name| value(name).map(|n| format!("{n:.1} ms"));
    let parts = [
        whole("dials").map(|n| format!("dials {n}")),
        whole("callbacks").map(|n| format!("callbacks {n}")),
        fine("dispatch_p50_ms").map(|n| format!("dispatch p50 {n}")),
        fine("dispatch_p95_ms").map(|n| format!("p95 {n}")),
        whole("loop_lag_max_ms").map(|n| format!("loop lag max {n} ms")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
