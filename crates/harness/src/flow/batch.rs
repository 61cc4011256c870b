//! `batch:test`: a whole test batch through a whole stack, and everything that must then be true.

use std::time::{Duration, Instant};

use dialtone_clock::{Clock as _, ScaledClock, TimeScale, Timeline};
use dialtone_contract::wire::{
    BatchOptions, BatchStatus, Durations, OutcomeMode, SpanS, TestBatchRequest,
};
use dialtone_contract::{TestMix, limits};
use tokio::sync::{mpsc, watch};

use super::agreement::{Agreement, Reader, WAITING};
use super::cancel::{Answers, Canceller, Played};
use super::follow::{self, Api};
use super::judge::{self, Asked, Jobs};
use super::scripts::{self, Scripts};
use super::stack_of::{self, Planned, TEST_WORKER, Wanted};
use super::strike::{Moments, Standing, Strike, Striker};
use super::verdict::{self, Done};
use super::watch::Watch;
use super::{Binaries, Guard, Limits, LiveKit, figures, verify};
use crate::drill::{Cancel, Kill, Victim};
use crate::envelope::Envelope;
use crate::event::Event;
use crate::failure::Failure;
use crate::outage::Outages;
use crate::run::{Identity, Run};
use crate::stack::{Setting, Stack};
use crate::tally::Tally;

/// The command.
pub const COMMAND: &str = "batch:test";

/// Calls of a wave.
pub const WAVE_SIZE: u32 = 15;

/// The checks of a run, in order: some runs have more to prove.
pub fn checks(mix: TestMix, kills: &[Kill], cancel: Option<Cancel>) -> Vec<&'static str> {
    let own = [
        (!mix.faults.is_none(), verdict::SCRIPTS),
        (!kills.is_empty(), verdict::RECOVERY),
        (cancel.is_some(), verdict::CANCEL),
    ];
    let own = own.into_iter().filter_map(|(wanted, name)| wanted.then_some(name));
    let before = ["ready", "trigger", "counts", "attempts", "false_expiries"];
    before.into_iter().chain(own).chain(["agreement", "invariants", "teardown"]).collect()
}

/// The voice and the user of a fresh store.
const VOICE: &str = "demo";
const USER: i64 = 1;

/// What shall be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many calls shall end how.
    pub mix: TestMix,
    /// Whether that is kept exactly.
    pub mode: OutcomeMode,
    /// The timeline's factor.
    pub scale: TimeScale,
    /// How long calls last which complete or fail, where the usual spread is not wanted.
    pub talk: Option<SpanS>,
    /// Calls in flight at once.
    pub max_concurrent: u32,
    /// The LiveKit.
    pub livekit: LiveKit,
    /// Services that are killed meanwhile.
    pub kills: Vec<Kill>,
    /// When the batch is cancelled.
    pub cancel: Option<Cancel>,
    /// Whether calls are made in waves, each of which ends before the next one begins.
    pub waves: bool,
    /// How long the stack may take to be ready.
    pub ready_within: Duration,
    /// The binaries.
    pub binaries: Binaries,
}

impl Options {
    pub(super) fn asked(&self) -> Asked {
        let attempts_max = BatchOptions::default().max_retries + 1;
        Asked { mix: self.mix, mode: self.mode, attempts_max }
    }

    fn durations(&self) -> Durations {
        let Some(completed) = self.talk else { return Durations::default() };
        let most = |s: f64| s.min(limits::TEST_FAIL_MAX.as_secs_f64());
        let failed = SpanS { min_s: most(completed.min_s), max_s: most(completed.max_s) };
        Durations { completed, failed }
    }

    fn request(&self, seed: u64) -> TestBatchRequest {
        TestBatchRequest {
            voice_id: VOICE.to_owned(),
            initiated_by: USER,
            agent_id: None,
            from_number: None,
            total: u32::try_from(self.mix.total()).unwrap_or(u32::MAX),
            fail_count: Some(self.mix.weights.failed),
            stuck_count: Some(self.mix.weights.stuck),
            dropped_count: Some(self.mix.weights.dropped),
            faults: self.mix.faults,
            seed: Some(seed),
            outcomes: self.mode,
            durations: self.durations(),
            options: BatchOptions {
                max_concurrent: self.max_concurrent,
                wave_size: if self.waves { WAVE_SIZE } else { 0 },
                ..BatchOptions::default()
            },
        }
    }
}

/// The first event of such a run: what is real, what is simulated, what will be done.
pub fn opening(identity: &Identity, mix: TestMix, opening: &Opening) -> Event {
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
    let timeline = Timeline::starting_now(options.scale);
    let started = guard.watch(start(&run, options, timeline, &guard)).await;
    let (stack, planned) = match started {
        Ok(started) => started,
        Err(failure) => {
            run.broke_off("ready", began.elapsed(), &failure);
            run.error(failure);
            verdict::teardown(&run, Instant::now(), &Stack::sweep(run.dir()).await);
            guard.last_signal(&run);
            return run.finish();
        }
    };
    let watch = Watch::start();
    let clock = ScaledClock::new(timeline);
    let play = Play { run: &run, options, guard: &guard, watch: &watch, stack: &stack, clock };
    let played = play.through(&planned, began).await;
    let looked = match &played {
        Ok(_) => watch.last_look(&stack).await,
        Err(failure) => Err(failure.clone()),
    };
    if let Err(failure) = looked {
        // Told at once: taking the stack down can take seconds.
        run.error(failure);
    }
    let down = Instant::now();
    let left = stack.stop().await;
    let lag = watch.lag();
    run.metric("loop_lag_max_ms", lag.max_ms().round());
    let too_slow = lag.too_slow();
    if let Some(failure) = &too_slow {
        run.error(failure.clone());
    }
    if let Ok(done) = played {
        guard.step.set("recounting the batch from its rows");
        let recount = verify::recount(&options.binaries.dialtone, &done.batch, run.dir());
        let recount = guard.watch(recount).await;
        let slow_disk = figures::slow_disk(&run);
        let together = figures::slow_together(&lag, run.metric_value("commit_max_ms"));
        let slow = too_slow.as_ref().or(slow_disk.as_ref()).or(together.as_ref());
        verdict::judge_all(&run, options, &done, recount, slow);
    }
    verdict::teardown(&run, down, &left);
    guard.last_signal(&run);
    run.finish()
}

async fn start(
    run: &Run,
    options: &Options,
    timeline: Timeline,
    guard: &Guard,
) -> Result<(Stack, Planned), Failure> {
    guard.step.set("starting the stack");
    let wanted = Wanted {
        binaries: &options.binaries,
        livekit: &options.livekit,
        livekit_mode: "oss",
        livekit_port: 0,
        api_port: 0,
        max_concurrent: options.max_concurrent,
        seed: run.identity().seed,
    };
    let mut planned = stack_of::plan(&wanted, run.dir())?;
    let setting = Setting {
        supervise: options.binaries.supervise.clone(),
        timeline,
        ready_within: options.ready_within,
    };
    let services = std::mem::take(&mut planned.services);
    let stack = Stack::start(services, &setting, run.dir(), run.bus()).await?;
    for member in stack.members() {
        run.artifact(&format!("log_{}", member.name), &format!("{}.log", member.name));
    }
    Ok((stack, planned))
}

/// A run whose stack has been started.
struct Play<'a> {
    run: &'a Run,
    options: &'a Options,
    guard: &'a Guard,
    watch: &'a Watch,
    stack: &'a Stack,
    /// Product time, on the timeline of the stack.
    clock: ScaledClock,
}

/// A batch that has ended, as far as it was followed.
struct Ended {
    batch: String,
    status: BatchStatus,
    agreement: Agreement,
    strikes: Vec<Strike>,
    answers: Option<Answers>,
}

impl Play<'_> {
    /// From started to ended, or to the reason why it never will be.
    async fn through(&self, planned: &Planned, began: Instant) -> Result<Done, Failure> {
        let Self { run, guard, stack, .. } = self;
        guard.step.set("waiting for the stack to be ready");
        if let Err(failure) = guard.watch(stack.ready()).await {
            // The reason is told by the caller, once.
            run.broke_off("ready", began.elapsed(), &failure);
            return Err(failure);
        }
        let livekit_dev = planned.livekit_dev.as_deref();
        guard.step.set("waiting for the worker to be registered");
        if let Err(failure) = guard.watch(self.watch.registered(stack, livekit_dev)).await {
            run.broke_off("ready", began.elapsed(), &failure);
            return Err(failure);
        }
        run.pass("ready", began.elapsed(), format!("{} services", stack.members().len()));
        let work = async {
            tokio::select! {
                biased;
                done = self.work(planned) => done,
                dead = stack.death() => Err(dead),
                pointless = self.watch.until_pointless(stack, livekit_dev) => Err(pointless),
            }
        };
        guard.watch(work).await
    }

    /// Triggers the batch, follows it, reads what became of it.
    async fn work(&self, planned: &Planned) -> Result<Done, Failure> {
        let Self { run, options, guard, stack, .. } = self;
        let base = planned.api.as_str();
        let api = Api { http: stack.http(), base };
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
        let begun = self.clock.now();
        let agreement = Agreement::default();
        let (told, standing) = watch::channel(Standing::default());
        let (seen, statuses) = mpsc::channel(WAITING);
        let moments = Moments { clock: self.clock.clone(), begun, standing };
        let reader = Reader::new(&agreement, planned.api_port, &batch);
        let (status, strikes, answers, ()) = tokio::try_join!(
            self.follow(&api, &batch, &told, seen),
            self.strike(planned, &agreement, moments.clone()),
            self.cancel(&api, &batch, moments),
            async {
                reader.compare(statuses).await;
                Ok(())
            },
        )?;
        let ended = Ended { batch, status, agreement, strikes, answers };
        self.read(planned, &api, ended).await
    }

    /// Reads what became of a batch that has ended.
    async fn read(&self, planned: &Planned, api: &Api<'_>, ended: Ended) -> Result<Done, Failure> {
        let Self { run, options, guard, watch, stack, .. } = self;
        let asked = options.asked();
        let Ended { batch, status, agreement, strikes, answers } = ended;
        let cancelled = self.after_cancel(api, &batch, answers).await?;
        let cut = cancelled.as_ref().is_some_and(|played| played.answers.is_some());
        let tally = Tally::new(asked.attempts_max).excusing(self.outages(&strikes)).cancelled(cut);
        let tally = api.entries(&batch, tally, &guard.step).await?;
        let report = api.report(&status).await;
        let scripts = self.scripts(asked, &strikes).await;
        let taken = watch.jobs_taken(stack, planned.livekit_dev.as_deref()).await?;
        let jobs = Jobs { taken, unseen: tally.forgotten };
        figures::of_api(run, asked, options.scale, &status, &tally);
        figures::of_server(run, stack.http(), api.base).await;
        let restarted = strikes.iter().any(|strike| strike.kill.victim == Victim::Dialtone);
        if let Some(callbacks) = agreement.callbacks().filter(|_| restarted) {
            // The server's own count began anew.
            run.metric("callbacks", f64::from(callbacks));
        }
        agreement.compare_end(&status, &tally, report.as_ref().ok());
        Ok(Done { batch, status, tally, report, jobs, agreement, strikes, cancelled, scripts })
    }

    /// Follows the batch to its end, and tells how far it is.
    async fn follow(
        &self,
        api: &Api<'_>,
        batch: &str,
        told: &watch::Sender<Standing>,
        seen: mpsc::Sender<BatchStatus>,
    ) -> Result<BatchStatus, Failure> {
        let Self { run, options, guard, watch, .. } = self;
        let factor = options.scale.factor();
        let followed = Instant::now();
        let tell = |status: &BatchStatus, progress| {
            watch.dials(status.dials);
            told.send_replace(Standing::from(status));
            if !status.status.is_terminal() {
                // One that finds no room is passed over; the next one is as good.
                let _ = seen.try_send(status.clone());
            }
            run.simulated(followed.elapsed() * factor);
            follow::tell(run.bus(), &guard.step, progress);
        };
        let status = api.follow(batch, factor, tell).await?;
        run.simulated(followed.elapsed() * factor);
        // The last one must not be missed.
        let _ = seen.send(status.clone()).await;
        Ok(status)
    }

    /// Kills what shall be killed, and waits for its return.
    async fn strike(
        &self,
        planned: &Planned,
        agreement: &Agreement,
        moments: Moments,
    ) -> Result<Vec<Strike>, Failure> {
        let Self { run, options, watch, stack, .. } = self;
        let livekit_dev = planned.livekit_dev.as_deref();
        let bus = run.bus();
        let striker = Striker { stack, watch, agreement, livekit_dev, bus, moments };
        striker.play(&options.kills).await
    }

    /// What agents did wrong by script, if they were to.
    async fn scripts(&self, asked: Asked, strikes: &[Strike]) -> Option<Result<Scripts, Failure>> {
        let Self { run, options, guard, stack, .. } = self;
        if asked.mix.faults.is_none() {
            return None;
        }
        guard.step.set("waiting for the last words of agents that go wrong by script");
        let worker = stack.member(TEST_WORKER)?;
        let grace = scripts::grace(options.scale);
        let read = Scripts::read(stack.http(), worker, asked, grace, !strikes.is_empty()).await;
        if let Ok(scripts) = &read {
            #[expect(clippy::cast_precision_loss, reason = "at most a few million")]
            run.metric("scripts_played", scripts.as_scripted() as f64);
        }
        Some(read)
    }

    /// Cancels the batch, if that was asked for and its moment comes.
    async fn cancel(
        &self,
        api: &Api<'_>,
        batch: &str,
        moments: Moments,
    ) -> Result<Option<Answers>, Failure> {
        let Some(cancel) = self.options.cancel else { return Ok(None) };
        let Api { http, base } = *api;
        let canceller = Canceller { http, base, batch, mode: cancel.mode };
        canceller.play(cancel, moments).await
    }

    /// Cancels a batch that has ended by a cancel once more.
    async fn after_cancel(
        &self,
        api: &Api<'_>,
        batch: &str,
        answers: Option<Answers>,
    ) -> Result<Option<Played>, Failure> {
        let Some(cancel) = self.options.cancel else { return Ok(None) };
        let Api { http, base } = *api;
        let canceller = Canceller { http, base, batch, mode: cancel.mode };
        let late = match &answers {
            Some(_) => Some(canceller.send().await?.0),
            None => None,
        };
        Ok(Some(Played { cancel, answers, late }))
    }

    fn outages(&self, strikes: &[Strike]) -> Outages {
        let spans = strikes.iter().map(|strike| strike.outage).collect();
        // A lease is looked for a moment after it ran out.
        let lease = self.clock.scale().guard_span(limits::LEASE) * 3 / 2;
        Outages::new(spans, lease)
    }
}
