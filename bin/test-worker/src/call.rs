use std::sync::atomic::AtomicU64;
use std::time::Duration;

use dialtone_agent_worker::{JobContext, JobFailure, JobOffer, JobResult};
use dialtone_auth::Phone;
use dialtone_clock::{TimeScale, rng_for};
use dialtone_contract::wire::{ClaimRequest, ClaimResponse, HeartbeatState, ReportedStatus};
use dialtone_contract::{DispatchMetadata, ErrorCode, PlannedOutcome};
use dialtone_serve::{ClientError, HttpClient};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use rand::Rng as _;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::api::REQUEST;
use crate::outcome;
use crate::script::Scripts;

/// Heartbeats that the platform waits for before it gives a call up.
const BEATS_PER_LEASE: u32 = 3;

/// Simulates one call after another as their metadata asks.
pub struct Simulator {
    pub http: HttpClient,
    pub scale: TimeScale,
    pub callbacks: Counter,
    pub scripts: Scripts,
}

/// One call that is being simulated.
pub struct Call<'a> {
    pub simulator: &'a Simulator,
    pub metadata: &'a DispatchMetadata,
    /// Heartbeats so far.
    pub beats: AtomicU64,
    job: &'a JobContext,
    seed: u64,
}

/// A dial claim that was won.
pub struct Dial {
    asked: Instant,
    /// When the platform has given the call up.
    over: Instant,
    /// Between two heartbeats.
    beat: Duration,
}

impl Simulator {
    pub fn new(http: &HttpClient, scale: TimeScale, registry: &mut Registry) -> Self {
        let (callbacks, scripts) = (Counter::default(), Scripts::default());
        registry.register("test_worker_callbacks", "Callbacks confirmed", callbacks.clone());
        scripts.register(registry);
        Self { http: http.with_timeout(REQUEST), scale, callbacks, scripts }
    }

    /// Whether the plan of an offered job is anything else than to refuse it. A job that
    /// cannot be read is taken, and fails with the reason.
    pub fn wants(&self, offer: JobOffer<'_>) -> bool {
        let metadata = serde_json::from_str::<DispatchMetadata>(offer.metadata).ok();
        let plan = metadata.and_then(|metadata| metadata.test?.outcome);
        let wanted = plan.is_none_or(PlannedOutcome::is_accepted);
        if !wanted {
            tracing::info!(call.id = offer.room, job.id = offer.job_id, "refused, as planned");
            self.scripts.refused();
        }
        wanted
    }

    pub async fn run(&self, job: JobContext) -> JobResult {
        let metadata: DispatchMetadata = serde_json::from_str(&job.metadata)
            .map_err(|_| JobFailure::new("the dispatch metadata is not that of a batch call"))?;
        let call_id = &metadata.call_id;
        let plan = metadata.test.as_ref().ok_or_else(|| JobFailure::new("not a test call"))?;
        if !Phone::parse(&plan.to).is_ok_and(|to| to.is_simulated()) {
            tracing::warn!(call.id = %call_id, "refused: the number is not a simulated one");
            return Err(JobFailure::new("the number is not in the simulated range"));
        }
        let outcome = outcome::choose(plan, metadata.added_context.as_deref(), call_id);
        let outcome = outcome.ok_or_else(|| JobFailure::new("bad_test_spec"))?;
        tracing::info!(
            call.id = %call_id, job.id = job.job_id, attempt = metadata.attempt, %outcome, "job"
        );
        let session = job.join().await?;
        let lasts = self.scale.story(outcome::lasts(plan, outcome, call_id));
        let call = Call {
            simulator: self,
            metadata: &metadata,
            beats: AtomicU64::new(0),
            job: &job,
            seed: plan.seed,
        };
        let result = call.simulate(outcome, lasts).await;
        session.leave().await;
        result
    }
}

impl Call<'_> {
    async fn simulate(&self, plan: PlannedOutcome, lasts: Duration) -> JobResult {
        match plan {
            PlannedOutcome::Completed
            | PlannedOutcome::Failed
            | PlannedOutcome::LateCallback
            | PlannedOutcome::DuplicateCallback
            | PlannedOutcome::LostCallback => self.talk(plan, lasts).await,
            // No claim, no status, no callback: the platform has to find out by itself.
            PlannedOutcome::Stuck | PlannedOutcome::Dropped => {
                self.unless_terminated(sleep(lasts)).await
            }
            PlannedOutcome::CrashInCall => self.crash(lasts).await,
            PlannedOutcome::RingsForever => self.ring().await,
            PlannedOutcome::NeverAccepts => Err(JobFailure::new("taken against its plan")),
        }
    }

    /// What `future` gives, unless LiveKit ends the job first.
    pub async fn unless_terminated<T>(
        &self,
        future: impl Future<Output = T>,
    ) -> Result<T, JobFailure> {
        tokio::select! {
            output = future => Ok(output),
            () = self.job.cancelled.cancelled() => Err(JobFailure::new("the job was terminated")),
        }
    }

    /// A number that the seed, the call and the purpose decide.
    pub fn chance(&self, purpose: &[u8]) -> u32 {
        rng_for(self.seed, &[purpose, self.metadata.call_id.as_str().as_bytes()]).next_u32()
    }

    async fn talk(&self, plan: PlannedOutcome, lasts: Duration) -> JobResult {
        let Some(dial) = self.unless_terminated(self.claim()).await?? else { return Ok(()) };
        let answered = plan.is_answered();
        self.unless_terminated(self.ring_and_talk(&dial, lasts, answered)).await??;
        // From here on the platform closes the room, and so ends the job, as soon as it
        // knows the outcome, which can be before its answer is here.
        let end = if answered { ReportedStatus::Ended } else { ReportedStatus::Failed };
        // The callback says all that the status does and more: it is sent in any case.
        let closed = self.status(end).await;
        self.report(plan, lasts).await?;
        closed
    }

    /// Claims the dial. `None`: the call is not ours.
    pub async fn claim(&self) -> Result<Option<Dial>, JobFailure> {
        let request = ClaimRequest { claimer: Some(self.job.job_id.clone()) };
        let asked = Instant::now();
        let claim: ClaimResponse = match self.post(&self.path("claim"), &request).await {
            Ok(claim) => claim.answer,
            Err(error) => return self.not_ours(&error).map(|()| None),
        };
        let beat = Duration::from_millis(claim.heartbeat_ms.max(1));
        // An answer older than the heartbeat lease grants nothing any more.
        if asked.elapsed() > beat * BEATS_PER_LEASE {
            return Err(JobFailure::new("the dial claim was answered too late to ring"));
        }
        let over = asked + Duration::from_millis(claim.budget_ms);
        Ok(Some(Dial { asked, over, beat }))
    }

    /// Lets the call last.
    pub async fn ring_and_talk(&self, dial: &Dial, lasts: Duration, answered: bool) -> JobResult {
        let state = if answered {
            self.status(ReportedStatus::InCall).await?;
            HeartbeatState::InCall
        } else {
            HeartbeatState::Ringing
        };
        let talk = async {
            tokio::select! {
                () = sleep(lasts) => true,
                () = self.beat(dial, state) => false,
            }
        };
        // The worker's own deadline: a call that the platform has given up is hung up.
        if timeout_at(dial.over, talk).await.unwrap_or(false) {
            Ok(())
        } else {
            Err(JobFailure::new("hung up: the platform has ended the call"))
        }
    }

    /// Beats until the platform says to hang up, or until it must have given the call up:
    /// no beat since the claim has been answered for a whole lease.
    async fn beat(&self, dial: &Dial, state: HeartbeatState) {
        let (every, mut confirmed) = (dial.beat, dial.asked);
        let mut next = Instant::now() + every;
        loop {
            let lapses = confirmed + every * BEATS_PER_LEASE;
            if timeout_at(lapses, sleep_until(next)).await.is_err() {
                return;
            }
            let sent_at = Instant::now();
            next += every;
            match timeout_at(lapses, self.beat_once(state)).await {
                Err(_) | Ok(Ok(false)) => return,
                Ok(Ok(true)) => confirmed = sent_at,
                // A beat that is lost is replaced by the next one.
                Ok(Err(_)) => {}
            }
        }
    }

    /// A claim that was lost to another agent, or came too late, is no failure of ours.
    fn not_ours(&self, error: &ClientError) -> JobResult {
        match error.problem().map(|problem| problem.code) {
            Some(ErrorCode::AlreadyClaimed | ErrorCode::StaleAttempt | ErrorCode::Cancelled) => {
                tracing::info!(call.id = %self.metadata.call_id, %error, "dial claim not won");
                Ok(())
            }
            _ => Err(self.failed(error)),
        }
    }
}
