//! Driving a batch through the public API: trigger, follow, read the entries.

use std::time::Duration;

use dialtone_contract::ErrorCode;
use dialtone_contract::wire::{BatchStatus, EntryPage, TestBatchRequest, TriggerResponse};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Step;
use crate::event::{Bus, Event, Progress};
use crate::failure::Failure;
use crate::http::{Http, chain, read};
use crate::run_dir::{RunDir, shown};
use crate::tally::Tally;

/// How long a trigger may take: a million entries are written before the answer.
const TRIGGER: Duration = Duration::from_secs(120);
/// How often a trigger is sent when nobody knows whether it arrived.
const TRIGGER_TRIES: u32 = 3;
/// How long one question for the status is held open.
const WAIT_S: u64 = 1;
/// How long any other answer may take.
const ANSWER: Duration = Duration::from_secs(15);
/// Between two answers of a status that changes all the time.
const PACE: Duration = Duration::from_millis(100);
/// How long the API may be unreachable before it counts as lost.
pub(super) const LOST: Duration = Duration::from_secs(10);
/// Entries on one page.
const PAGE: u32 = 1_000;

/// The batch of a run, as the API shows it.
pub struct Api<'a> {
    /// The client.
    pub http: &'a Http,
    /// Base URL.
    pub base: &'a str,
}

impl Api<'_> {
    /// Triggers the batch. The idempotency key is on disk before the request leaves, so that no
    /// answer, not even none, can make two batches of it.
    ///
    /// # Errors
    /// If the platform refuses, or is not there.
    pub async fn trigger(
        &self,
        request: &TestBatchRequest,
        dir: &RunDir,
    ) -> Result<TriggerResponse, Failure> {
        let key = format!("dialtone-run-{}", dir.run_id());
        let note = dir.join("trigger.json");
        let text = json!({ "idempotency_key": key, "body": request }).to_string();
        std::fs::write(&note, text).map_err(|error| {
            Failure::environment(format!("{} cannot be written: {error}", shown(&note)))
        })?;
        let url = format!("{}/batch/trigger-test-batch", self.base);
        let mut tries = 0;
        loop {
            tries += 1;
            let headers = [("idempotency-key", key.as_str())];
            match self.http.post(&url, &headers, request, TRIGGER).await {
                Ok(answer) => {
                    let what = "POST /batch/trigger-test-batch";
                    return read(what, &answer)
                        .map_err(|text| Failure::new(ErrorCode::CheckFailed, text));
                }
                Err(error) if tries == TRIGGER_TRIES => return Err(lost(&chain(&error))),
                Err(_) => sleep(PACE).await,
            }
        }
    }

    /// Follows the batch to its end.
    ///
    /// # Errors
    /// If the API is lost or answers something else than a status.
    pub async fn follow(
        &self,
        batch: &str,
        factor: u32,
        mut tell: impl FnMut(&BatchStatus, Progress),
    ) -> Result<BatchStatus, Failure> {
        let url = format!("{}/batch/batch-status/{batch}?wait={WAIT_S}s", self.base);
        let began = Instant::now();
        let mut heard = began;
        let mut etag = String::new();
        loop {
            let asked = Instant::now();
            let headers = [("if-none-match", etag.as_str())];
            let headers = if etag.is_empty() { &headers[..0] } else { &headers[..] };
            match self.http.get(&url, headers, ANSWER).await {
                Ok(answer) if answer.status.as_u16() == 304 => heard = Instant::now(),
                Ok(answer) => {
                    heard = Instant::now();
                    let status: BatchStatus = read("GET /batch/batch-status", &answer)
                        .map_err(|text| Failure::new(ErrorCode::CheckFailed, text))?;
                    let tag = answer.headers.get("etag").and_then(|tag| tag.to_str().ok());
                    let tag = tag.unwrap_or_default();
                    if tag.trim_matches('"') != status.event_seq.to_string() {
                        let seq = status.event_seq;
                        let text = format!("the status at event {seq} carries the ETag {tag}");
                        return Err(Failure::new(ErrorCode::CheckFailed, text));
                    }
                    tell(&status, progress(&status, began.elapsed() * factor));
                    if status.status.is_terminal() {
                        return Ok(status);
                    }
                    tag.clone_into(&mut etag);
                }
                Err(error) if heard.elapsed() > LOST => return Err(lost(&chain(&error))),
                Err(_) => {}
            }
            // A status that changes all the time answers at once; one look in a while is enough.
            sleep(PACE.saturating_sub(asked.elapsed())).await;
        }
    }

    /// Reads every entry.
    ///
    /// # Errors
    /// If a page does not come.
    pub async fn entries(
        &self,
        batch: &str,
        mut tally: Tally,
        step: &Step,
    ) -> Result<Tally, Failure> {
        let mut cursor = None::<String>;
        loop {
            step.set(format!("reading entry {} of {batch}", tally.entries + 1));
            let after = cursor.as_ref().map_or_else(String::new, |c| format!("&cursor={c}"));
            let url = format!("{}/batch/{batch}/entries?limit={PAGE}{after}", self.base);
            let answer = self.http.get(&url, &[], ANSWER).await;
            let answer = answer.map_err(|error| lost(&chain(&error)))?;
            let page: EntryPage = read("GET /batch/{batch_id}/entries", &answer)
                .map_err(|text| Failure::new(ErrorCode::CheckFailed, text))?;
            page.items.iter().for_each(|entry| tally.add(entry));
            match page.next_cursor {
                Some(next) if cursor.as_ref() != Some(&next) && !page.items.is_empty() => {
                    cursor = Some(next);
                }
                _ => return Ok(tally),
            }
        }
    }

    /// Reads the report; in words, why it cannot be read.
    ///
    /// # Errors
    /// If it cannot.
    pub async fn report(&self, status: &BatchStatus) -> Result<Value, String> {
        let Some(path) = &status.report_url else {
            return Err("the batch ended and names no report".to_owned());
        };
        let url = if path.starts_with('/') { format!("{}{path}", self.base) } else { path.clone() };
        // The summary alone: the entries have been read already, and can be very many.
        let url = format!("{url}?entries=false");
        let answer = self.http.get(&url, &[], ANSWER).await.map_err(|error| chain(&error))?;
        read(&format!("GET {path}"), &answer)
    }
}

fn progress(status: &BatchStatus, simulated: Duration) -> Progress {
    let ended = status.completed_calls + status.failed_calls + status.cancelled_calls;
    let retrying = status.by_state.get(&dialtone_contract::EntryState::RetryWait);
    Progress {
        total: status.total_calls,
        ended,
        in_flight: status.in_flight,
        retrying: retrying.copied().unwrap_or(0),
        attempts: status.attempts,
        dials: status.dials,
        simulated_s: simulated.as_secs_f64(),
    }
}

/// Tells how far the batch is.
pub fn tell(bus: &Bus, step: &Step, progress: Progress) {
    step.set(format!(
        "waiting for the batch: {} of {} ended, {} in flight, {} waiting for a retry",
        progress.ended, progress.total, progress.in_flight, progress.retrying
    ));
    bus.emit(Event::Progress(progress));
}

fn lost(why: &str) -> Failure {
    Failure::new(ErrorCode::TargetLost, format!("dialtone no longer answers: {why}"))
}
