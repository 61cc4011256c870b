//! What an agent says to the platform.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dialtone_agent_worker::JobFailure;
use dialtone_contract::Outcome;
use dialtone_contract::wire::{
    CallStatusRequest, CallStatusResponse, EntryCompletedRequest, EntryCompletedResponse,
    HeartbeatRequest, HeartbeatResponse, HeartbeatState, ReportedStatus,
};
use dialtone_serve::ClientError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use crate::call::Call;

/// Wire time for one request to the API.
pub const REQUEST: Duration = Duration::from_secs(5);
/// Wire time in which a claim or a callback is tried again; the platform's own
/// deadlines cover what lasts longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// First pause between two tries; doubles.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Where every callback goes.
pub const CALLBACK: &str = "/batch/entry-completed";

/// An answer to a request that was sent until there was one.
#[derive(Debug)]
pub struct Answered<T> {
    pub answer: T,
    /// Whether the platform may have heard the request before the try that it answered.
    pub repeated: bool,
}

impl Call<'_> {
    pub async fn status(&self, status: ReportedStatus) -> Result<(), JobFailure> {
        let request = CallStatusRequest { status, reason: None };
        match self.post::<_, CallStatusResponse>(&self.path("status"), &request).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// One sign of life; whether the platform wants more of them.
    pub async fn beat_once(&self, state: HeartbeatState) -> Result<bool, ClientError> {
        let seq = self.beats.fetch_add(1, Ordering::Relaxed) + 1;
        let request = HeartbeatRequest { seq, state };
        let answer: HeartbeatResponse = self.once(&self.path("heartbeat"), &request).await?;
        Ok(answer.go_on)
    }

    /// The callback for a call that lasted so long.
    pub fn callback(&self, status: Outcome, lasted: Duration) -> EntryCompletedRequest {
        let lasted = self.simulator.scale.product(lasted).as_millis();
        EntryCompletedRequest {
            call_id: self.metadata.call_id.clone(),
            entry_id: self.metadata.entry_id.clone(),
            attempt: self.metadata.attempt,
            status,
            duration_ms: u64::try_from(lasted).ok(),
            reason: None,
        }
    }

    /// Sends a callback; whether it was applied.
    pub async fn send(
        &self,
        callback: &EntryCompletedRequest,
    ) -> Result<Answered<bool>, JobFailure> {
        let answered = self.post::<_, EntryCompletedResponse>(CALLBACK, callback).await;
        let Answered { answer, repeated } = answered.map_err(|error| self.failed(&error))?;
        self.simulator.callbacks.inc();
        Ok(Answered { answer: answer.applied, repeated })
    }

    pub fn path(&self, verb: &str) -> String {
        format!("/batch/calls/{}/{verb}", self.metadata.call_id)
    }

    /// Posts, again and again while the API does not answer; an answer is final.
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<Answered<T>, ClientError> {
        let until = Instant::now() + PATIENCE;
        let (mut pause, mut repeated) = (PAUSE, false);
        loop {
            let error = match self.once(path, body).await {
                Ok(answer) => return Ok(Answered { answer, repeated }),
                Err(error) => error,
            };
            let answered = error.status().is_some_and(|status| !status.is_server_error());
            if answered || Instant::now() + pause > until {
                return Err(error);
            }
            repeated |= !error.never_sent();
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

    pub fn failed(&self, error: &ClientError) -> JobFailure {
        tracing::warn!(call.id = %self.metadata.call_id, %error, "request failed");
        JobFailure::new(error.to_string())
    }
}
