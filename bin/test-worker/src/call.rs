use std::time::Duration;

use dialtone_agent_worker::{JobContext, JobFailure, JobResult};
use dialtone_auth::Phone;
use dialtone_clock::TimeScale;
use dialtone_contract::wire::{
    CallStatusRequest, CallStatusResponse, ClaimRequest, ClaimResponse, EntryCompletedRequest,
    EntryCompletedResponse, HeartbeatRequest, HeartbeatResponse, HeartbeatState, ReportedStatus,
};
use dialtone_contract::{DispatchMetadata, ErrorCode, Outcome, PlannedOutcome};
use dialtone_serve::{ClientError, HttpClient};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::outcome;

/// Wire time for one request to the API.
const REQUEST: Duration = Duration::from_secs(5);
/// Wire time in which a claim or a callback is tried again; the platform's own
/// deadlines cover what lasts longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Heartbeats that the platform waits for before it gives a call up.
const BEATS_PER_LEASE: u32 = 3;
/// First pause between two tries; doubles.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Simulates one call after another as their metadata asks.
pub struct Simulator {
    http: HttpClient,
    scale: TimeScale,
    callbacks: Counter,
}

/// One call that is being simulated.
struct Call<'a> {
    simulator: &'a Simulator,
    job: &'a JobContext,
    metadata: &'a DispatchMetadata,
}

impl Simulator {
    pub fn new(http: &HttpClient, scale: TimeScale, registry: &mut Registry) -> Self {
        let callbacks = Counter::default();
        registry.register("test_worker_callbacks", "Callbacks confirmed", callbacks.clone());
        Self { http: http.with_timeout(REQUEST), scale, callbacks }
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
        let call = Call { simulator: self, job: &job, metadata: &metadata };
        let lasts = self.scale.story(outcome::lasts(plan, outcome, call_id));
        let result = call.simulate(outcome, lasts).await;
        session.leave().await;
        result
    }
}

impl Call<'_> {
    async fn simulate(&self, outcome: PlannedOutcome, lasts: Duration) -> JobResult {
        match outcome {
            PlannedOutcome::Completed => {
                self.talk(lasts, ReportedStatus::Ended, Outcome::Completed).await
            }
            PlannedOutcome::Failed => {
                self.talk(lasts, ReportedStatus::Failed, Outcome::Failed).await
            }
            // No claim, no status, no callback: the platform has to find out by itself.
            PlannedOutcome::Stuck | PlannedOutcome::Dropped => {
                self.unless_terminated(sleep(lasts)).await
            }
        }
    }

    /// What `future` gives, unless LiveKit ends the job first.
    async fn unless_terminated<T>(&self, future: impl Future<Output = T>) -> Result<T, JobFailure> {
        tokio::select! {
            output = future => Ok(output),
            () = self.job.cancelled.cancelled() => Err(JobFailure::new("the job was terminated")),
        }
    }

    async fn talk(&self, lasts: Duration, end: ReportedStatus, outcome: Outcome) -> JobResult {
        let talked = self.unless_terminated(self.ring_and_talk(lasts, end)).await??;
        // From here on the platform closes the room, and so ends the job, as soon as it
        // knows the outcome, which can be before its answer is here.
        if talked {
            // The callback says all that the status does and more: it is sent in any case.
            let closed = self.status(end).await;
            self.report(outcome, lasts).await?;
            closed?;
        }
        Ok(())
    }

    /// Claims the dial and lets the call last. `false`: the call is not ours.
    async fn ring_and_talk(
        &self,
        lasts: Duration,
        end: ReportedStatus,
    ) -> Result<bool, JobFailure> {
        let request = ClaimRequest { claimer: Some(self.job.job_id.clone()) };
        let asked = Instant::now();
        let claim: ClaimResponse = match self.post(&self.path("claim"), &request).await {
            Ok(claim) => claim,
            Err(error) => return self.not_ours(&error).map(|()| false),
        };
        let beat = Duration::from_millis(claim.heartbeat_ms.max(1));
        // An answer older than the heartbeat lease grants nothing any more.
        if asked.elapsed() > beat * BEATS_PER_LEASE {
            return Err(JobFailure::new("the dial claim was answered too late to ring"));
        }
        let over = asked + Duration::from_millis(claim.budget_ms);
        let answered = end == ReportedStatus::Ended;
        let state = if answered {
            self.status(ReportedStatus::InCall).await?;
            HeartbeatState::InCall
        } else {
            HeartbeatState::Ringing
        };
        let talk = async {
            tokio::select! {
                () = sleep(lasts) => true,
                () = self.beat(beat, asked, state) => false,
            }
        };
        // The worker's own deadline: a call that the platform has given up is hung up.
        let talked = timeout_at(over, talk).await.unwrap_or(false);
        if talked {
            Ok(true)
        } else {
            Err(JobFailure::new("hung up: the platform has ended the call"))
        }
    }

    /// Beats until the platform says to hang up, or until it must have given the call up:
    /// no beat since `confirmed` has been answered for a whole lease.
    async fn beat(&self, every: Duration, mut confirmed: Instant, state: HeartbeatState) {
        let mut next = Instant::now() + every;
        for seq in 1.. {
            let lapses = confirmed + every * BEATS_PER_LEASE;
            if timeout_at(lapses, sleep_until(next)).await.is_err() {
                return;
            }
            let sent_at = Instant::now();
            next += every;
            let request = HeartbeatRequest { seq, state };
            let path = self.path("heartbeat");
            match timeout_at(lapses, self.once::<_, HeartbeatResponse>(&path, &request)).await {
                Err(_) => return,
                Ok(Ok(answer)) if !answer.go_on => return,
                Ok(Ok(_)) => confirmed = sent_at,
                // A beat that is lost is replaced by the next one.
                Ok(Err(_)) => {}
            }
        }
    }

    async fn status(&self, status: ReportedStatus) -> Result<(), JobFailure> {
        let request = CallStatusRequest { status, reason: None };
        match self.post::<_, CallStatusResponse>(&self.path("status"), &request).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn report(&self, status: Outcome, lasted: Duration) -> JobResult {
        let lasted = self.simulator.scale.product(lasted).as_millis();
        let request = EntryCompletedRequest {
            call_id: self.metadata.call_id.clone(),
            entry_id: self.metadata.entry_id.clone(),
            attempt: self.metadata.attempt,
            status,
            duration_ms: u64::try_from(lasted).ok(),
            reason: None,
        };
        match self.post::<_, EntryCompletedResponse>("/batch/entry-completed", &request).await {
            Ok(_) => {
                self.simulator.callbacks.inc();
                Ok(())
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn path(&self, verb: &str) -> String {
        format!("/batch/calls/{}/{verb}", self.metadata.call_id)
    }

    /// Posts, again and again while the API does not answer; an answer is final.
    async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let until = Instant::now() + PATIENCE;
        let mut pause = PAUSE;
        loop {
            let error = match self.once(path, body).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let answered = error.status().is_some_and(|status| !status.is_server_error());
            if answered || Instant::now() + pause > until {
                return Err(error);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn once<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let url = format!("{}{path}", self.metadata.api_url.trim_end_matches('/'));
        self.simulator.http.post_json(&url, Some(&self.metadata.capability), body).await
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

    fn failed(&self, error: &ClientError) -> JobFailure {
        tracing::warn!(call.id = %self.metadata.call_id, %error, "request failed");
        JobFailure::new(error.to_string())
    }
}
