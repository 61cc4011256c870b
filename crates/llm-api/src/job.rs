//! The two-step route: `POST /v1/inference` starts an answer, `GET /v1/inference/{id}/stream`
//! fetches it, once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use dialtone_inference::engine::{FinishReason, Output};
use hyper::StatusCode;
use hyper::header::ALLOW;
use serde::Serialize;

use crate::Worker;
use crate::answer::{Answer, millis};
use crate::ask::Body;
use crate::events::{self, Events, Script};
use crate::metrics::word;
use crate::refusal::Refusal;

/// When it is worth asking again if too many answers wait to be fetched.
const RETRY: Duration = Duration::from_secs(1);

/// The answers that were started. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Jobs(Arc<Mutex<HashMap<String, Job>>>);

/// One answer. Taken once; its name is kept a little longer, to tell a second taker so.
enum Job {
    Waiting(Answer, Started),
    Taken,
}

struct Started {
    model: String,
    at: u64,
}

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the answers that nobody has fetched, which cancels them.
    pub fn forget(&self) {
        self.lock().retain(|_, job| matches!(job, Job::Taken));
    }

    /// Keeps an answer to be fetched, or refuses it if `most` wait already.
    fn put(&self, id: &str, answer: Answer, started: Started, most: usize) -> Result<(), Refusal> {
        let mut jobs = self.lock();
        has_room(&jobs, most)?;
        jobs.insert(id.to_owned(), Job::Waiting(answer, started));
        Ok(())
    }

    fn take(&self, id: &str) -> Result<(Answer, Started), Refusal> {
        match self.lock().get_mut(id) {
            None => {
                Err(Refusal::unknown(format!("there is no inference job `{id}`, or no longer")))
            }
            Some(job) => match std::mem::replace(job, Job::Taken) {
                Job::Waiting(answer, started) => Ok((answer, started)),
                Job::Taken => Err(Refusal::taken(format!("the stream of `{id}` was taken before"))),
            },
        }
    }
}

fn has_room(jobs: &HashMap<String, Job>, most: usize) -> Result<(), Refusal> {
    let waiting = jobs.values().filter(|job| matches!(job, Job::Waiting(..))).count();
    if waiting < most {
        return Ok(());
    }
    Err(Refusal::full(format!("{waiting} answers wait to be fetched"), RETRY))
}

#[derive(Serialize)]
struct Accepted {
    job_id: String,
    sse_url: String,
}

/// Starts an answer.
pub async fn create(State(worker): State<Worker>, Body(ask): Body) -> Result<Response, Refusal> {
    let asked = Instant::now();
    worker.check_model(ask.model.as_deref())?;
    let jobs = &worker.0.jobs;
    // What nobody reads holds a slot all the same, so one is left to those who read.
    let most = worker.serving()?.engine.shape().slots.saturating_sub(1).max(1);
    has_room(&jobs.lock(), most)?;
    let prompt = worker.prompt(ask.prompt.as_ref()).await?;
    let taken = worker.submit(&ask, prompt, "job", asked)?;
    let id = taken.head.id;
    let started = Started { model: taken.head.model, at: taken.head.created };
    jobs.put(&id, taken.answer, started, most)?;
    let (jobs, forgotten, after) = (jobs.clone(), id.clone(), worker.0.options.unfetched);
    // Nobody fetched it: dropped, and so cancelled.
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        if let Some(Job::Waiting(..)) = jobs.lock().remove(&forgotten) {
            tracing::info!(request.id = forgotten, "an inference job was never fetched");
        }
    });
    let sse_url = format!("/v1/inference/{id}/stream");
    Ok(axum::Json(Accepted { job_id: id, sse_url }).into_response())
}

/// Refuses to tell what the stream would be like: the answer can be fetched but once.
pub async fn peek() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET")]).into_response()
}

/// Streams an answer.
pub async fn stream(
    State(worker): State<Worker>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let (answer, started) = worker.0.jobs.take(&id)?;
    let script = Told { job_id: id, started, index: 0 };
    Ok(events::respond(answer, script))
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    Started {
        job_id: &'a str,
        model: &'a str,
        started_at: u64,
    },
    Token {
        t: &'a str,
        i: usize,
    },
    End {
        tokens_out: usize,
        decode_time_ms: f64,
        stop_reason: &'static str,
        prompt_tokens: usize,
        cached_tokens: usize,
        ttft_ms: f64,
    },
    Error {
        code: &'static str,
        message: &'a str,
    },
}

/// The answer as events.
struct Told {
    job_id: String,
    started: Started,
    index: usize,
}

impl Script for Told {
    fn begin(&mut self, to: &mut Events) {
        let Started { model, at } = &self.started;
        to.data(&Event::Started { job_id: &self.job_id, model, started_at: *at });
    }

    fn output(&mut self, output: Output, to: &mut Events) {
        match output {
            Output::Piece(piece) => {
                to.data(&Event::Token { t: &piece.text, i: self.index });
                self.index += 1;
            }
            Output::Finish(finish) => match &finish.reason {
                FinishReason::Error(message) => {
                    to.data(&Event::Error { code: "INFERENCE_FAILED", message });
                }
                FinishReason::Cancelled => {
                    let message = "the request was cancelled";
                    to.data(&Event::Error { code: "CANCELLED", message });
                }
                reason => to.data(&Event::End {
                    tokens_out: finish.usage.completion_tokens,
                    decode_time_ms: millis(finish.timings.decode),
                    stop_reason: word(reason),
                    prompt_tokens: finish.usage.prompt_tokens,
                    cached_tokens: finish.usage.cached_tokens,
                    ttft_ms: millis(finish.timings.queued + finish.timings.prefill),
                }),
            },
        }
    }
}
