use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use dialtone_inference::engine::{Finish, FinishReason, Generation, Output, Timings, Usage};
use serde::Serialize;

use crate::metrics::{Metrics, word};

/// An answer on its way to a client, timed and counted. Dropping it cancels the request.
pub struct Answer {
    generation: Generation,
    metrics: Metrics,
    asked: Instant,
    last: Option<Instant>,
    tokens: usize,
    ended: bool,
}

impl Answer {
    /// The answer to a request that arrived at `asked`.
    pub fn new(generation: Generation, metrics: Metrics, asked: Instant) -> Self {
        Self { generation, metrics, asked, last: None, tokens: 0, ended: false }
    }

    /// The next part; `None` after the end. An engine that went away without one counts as an
    /// error.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Output>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let output = ready!(self.generation.poll_next(context)).unwrap_or_else(|| {
            let (usage, timings) = (Usage::default(), Timings::default());
            let reason = FinishReason::Error("the engine is gone".to_owned());
            Output::Finish(Finish { reason, usage, timings })
        });
        self.observe(&output);
        Poll::Ready(Some(output))
    }

    /// The next part.
    pub async fn next(&mut self) -> Option<Output> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn observe(&mut self, output: &Output) {
        let now = Instant::now();
        match output {
            Output::Piece(piece) => {
                match self.last.replace(now) {
                    None => self.metrics.first_token(now - self.asked),
                    Some(last) => {
                        // A text may stand for several tokens, of which one may have been the end
                        // of a character; one that was held back may stand for none.
                        let tokens = piece.tokens.saturating_sub(self.tokens);
                        let each = (now - last) / u32::try_from(tokens.max(1)).unwrap_or(u32::MAX);
                        (0..tokens).for_each(|_| self.metrics.next_token(each));
                    }
                }
                self.tokens = piece.tokens;
            }
            Output::Finish(finish) => {
                self.ended = true;
                self.metrics.queued(finish.timings.queued);
                self.metrics.finished(word(&finish.reason));
                if let FinishReason::Error(reason) = &finish.reason {
                    tracing::error!(reason, "an answer failed");
                }
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.ended {
            // A caller that waits too long goes: without it, only short waits would be seen.
            self.metrics.queued(self.generation.queued());
            self.metrics.finished("disconnected");
        }
    }
}

/// What an answer took, as clients see it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Took {
    /// From the request to a slot.
    queue_ms: f64,
    /// From the request to the first token, inside the engine.
    ttft_ms: f64,
    /// Prompt tokens that were run, and how fast.
    prompt_n: usize,
    prompt_ms: f64,
    prompt_per_second: f64,
    /// Tokens that were generated, and how fast, from the first one on.
    predicted_n: usize,
    predicted_ms: f64,
    predicted_per_second: f64,
}

impl From<&Finish> for Took {
    fn from(finish: &Finish) -> Self {
        let (timings, usage) = (&finish.timings, &finish.usage);
        let prompt = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
        let after_first = usage.completion_tokens.saturating_sub(1);
        Self {
            queue_ms: millis(timings.queued),
            ttft_ms: millis(timings.queued + timings.prefill),
            prompt_n: prompt,
            prompt_ms: millis(timings.prefill),
            prompt_per_second: rate(prompt, timings.prefill),
            predicted_n: usage.completion_tokens,
            predicted_ms: millis(timings.decode),
            predicted_per_second: rate(after_first, timings.decode),
        }
    }
}

/// Milliseconds with three decimals.
pub fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// 0 where nothing was measured.
#[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
fn rate(count: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { (count as f64 / time.as_secs_f64() * 100.0).round() / 100.0 }
}
