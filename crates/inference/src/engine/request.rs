//! What is asked of the engine, and what comes back.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::mpsc;

use super::desk::Desk;
use crate::Token;
use crate::sampling::Sampling;

/// One text to be continued.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Id under which logs, slots and cancellation know it.
    pub id: String,
    /// The prompt, the token that begins a text included. Not empty.
    pub prompt: Vec<Token>,
    /// Tokens to generate at most, at least 1. Cut to what the context leaves.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts at which the answer ends; they are not part of it.
    pub stop: Vec<String>,
    /// Conversation that this is a turn of: its next turn finds the earlier ones remembered.
    pub session: Option<String>,
    /// Goes on after the model says that it is done (for measurements).
    pub ignore_end: bool,
}

/// A part of the answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// More text.
    Piece(Piece),
    /// The end; nothing follows.
    Finish(Finish),
}

/// Some text of the answer: whole characters only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The text. Not empty.
    pub text: String,
    /// Tokens generated so far, this piece's included.
    pub tokens: usize,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// Why.
    pub reason: FinishReason,
    /// What it took.
    pub usage: Usage,
    /// How long it took.
    pub timings: Timings,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model was done, or a stop text came.
    Stop,
    /// `max_tokens` or the context was used up.
    Length,
    /// It was cancelled by name.
    Cancelled,
    /// The worker shuts down.
    Shutdown,
    /// The model failed.
    Error(String),
}

/// Tokens of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, remembered from before.
    pub cached_tokens: usize,
    /// Tokens generated, the one that ended the answer included.
    pub completion_tokens: usize,
}

/// Where the time of one answer went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// From the request to a slot.
    pub queued: Duration,
    /// From the slot to the first token.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
}

/// An answer on its way. Dropping it cancels the request within one step of the engine.
pub struct Generation {
    outputs: mpsc::Receiver<Output>,
    desk: Arc<Desk>,
    /// When it was asked for, and when it began to run.
    begun: (Instant, Arc<OnceLock<Instant>>),
}

impl Generation {
    pub(super) fn new(
        outputs: mpsc::Receiver<Output>,
        desk: Arc<Desk>,
        begun: (Instant, Arc<OnceLock<Instant>>),
    ) -> Self {
        Self { outputs, desk, begun }
    }

    /// From the request to a slot, or until now while it has none.
    #[must_use]
    pub fn queued(&self) -> Duration {
        let (since, begun) = &self.begun;
        begun.get().map_or_else(|| since.elapsed(), |begun| *begun - *since)
    }

    /// The next part; `None` after [`Output::Finish`].
    pub async fn next(&mut self) -> Option<Output> {
        let output = self.outputs.recv().await;
        self.desk.read();
        output
    }

    /// The next part, for streams that are polled.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Output>> {
        let output = self.outputs.poll_recv(context);
        if output.is_ready() {
            self.desk.read();
        }
        output
    }

    /// The next part, waited for by a thread of its own. Not inside an async runtime.
    pub fn next_blocking(&mut self) -> Option<Output> {
        let output = self.outputs.blocking_recv();
        self.desk.read();
        output
    }
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation").field("outputs", &self.outputs).finish_non_exhaustive()
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.outputs.close();
        self.desk.read();
    }
}

/// Why a request is not taken. Told at once: a voice call cannot wait in a queue for long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Every slot is busy and the queue is full.
    #[error("all {slots} slots are busy and {queued} requests wait")]
    Full {
        /// Slots in all.
        slots: usize,
        /// Requests that wait.
        queued: usize,
        /// When it is worth asking again.
        retry_after: Duration,
    },
    /// The worker finishes what runs and takes nothing new.
    #[error("the worker is shutting down")]
    Draining,
    /// The model has failed for good; only a new worker helps.
    #[error("the model has failed: {reason}")]
    Failed {
        /// How.
        reason: String,
    },
    /// The prompt leaves no room for an answer.
    #[error("the prompt has {prompt} tokens, at most {most} fit")]
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// The longest prompt.
        most: usize,
    },
    /// A field of the request cannot be served.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a slot does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    /// Nothing.
    Idle,
    /// It reads a prompt.
    Prefill,
    /// It generates.
    Decode,
}

/// One slot, as `/slots` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlotView {
    /// Its number, from 0.
    pub id: usize,
    /// What it does.
    pub state: SlotState,
    /// The request in it.
    pub request: Option<String>,
    /// Tokens of its prompt.
    pub prompt_tokens: usize,
    /// Tokens generated so far.
    pub generated: usize,
}

/// What the engine has done and is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Slots in all.
    pub slots_total: usize,
    /// Slots with a request.
    pub slots_busy: usize,
    /// Requests that wait for a slot.
    pub queue_depth: usize,
    /// Requests that ended, by whatever reason.
    pub finished: u64,
    /// Requests that were cancelled or whose receiver went away.
    pub cancelled: u64,
    /// Prompt tokens run.
    pub prompt_tokens: u64,
    /// Prompt tokens that were remembered.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Generated tokens per second over the last few seconds of work; 0 while idle for long.
    pub tokens_per_s: f64,
    /// Tokens held by running sequences.
    pub kv_used: usize,
    /// Tokens kept for later.
    pub kv_cached: usize,
    /// Room in tokens.
    pub kv_total: usize,
    /// Takes nothing new.
    pub draining: bool,
    /// How the model failed for good, if it did.
    pub failed: Option<String>,
}
