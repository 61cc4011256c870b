use std::time::{Duration, Instant};

use super::desk::Waiting;
use super::text::Text;
use super::{Finish, FinishReason, Piece, SlotState, Timings, Usage};
use crate::Token;
use crate::sampling::Sampler;
use crate::tokenizer::Tokenize;

/// A request in a slot.
pub(super) struct Sequence {
    waiting: Waiting,
    /// The prompt, then what has been generated.
    tokens: Vec<Token>,
    prompt: usize,
    /// Tokens at most, those of the prompt included.
    pub room: usize,
    /// Tokens of the prompt that were remembered.
    cached: usize,
    /// Tokens that the model has run (or remembered).
    done: usize,
    sampler: Sampler,
    text: Text,
    /// The step in which it came.
    pub arrived: u64,
    began: Instant,
    first: Option<Instant>,
    last: Instant,
    paused: Option<Instant>,
    /// The last token ended the answer, and stands for no text.
    end_token: bool,
}

impl Sequence {
    /// `longest` is what a sequence may hold at most, more than the prompt.
    pub fn new(mut waiting: Waiting, longest: usize, arrived: u64) -> Self {
        let tokens = std::mem::take(&mut waiting.request.prompt);
        let (request, prompt) = (&waiting.request, tokens.len());
        let began = Instant::now();
        Self {
            tokens,
            prompt,
            room: prompt.saturating_add(request.max_tokens).min(longest),
            cached: 0,
            done: 0,
            sampler: Sampler::new(request.sampling.clone()),
            text: Text::new(request.stop.clone()),
            arrived,
            began,
            first: None,
            last: began,
            paused: None,
            end_token: false,
            waiting,
        }
    }

    /// Back to the queue, before anything was run.
    pub fn back(mut self) -> Waiting {
        self.waiting.request.prompt = self.tokens;
        self.waiting.blocked = true;
        self.waiting
    }

    /// The first `cached` tokens need not be run.
    pub fn skip(&mut self, cached: usize) {
        (self.cached, self.done) = (cached, cached);
        // Only now is it certain that it stays in its slot.
        let _ = self.waiting.begun.set(self.began);
    }

    pub fn id(&self) -> &str {
        &self.waiting.request.id
    }

    pub fn session(&self) -> Option<&str> {
        self.waiting.request.session.as_deref()
    }

    /// Prompt and answer so far.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Tokens that the model has run (or remembered).
    pub fn done(&self) -> usize {
        self.done
    }

    /// Tokens that the model has to run.
    pub fn pending(&self) -> usize {
        self.tokens.len() - self.done
    }

    pub fn prompt_tokens(&self) -> usize {
        self.prompt
    }

    pub fn generated(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    pub fn state(&self) -> SlotState {
        if self.generated() == 0 { SlotState::Prefill } else { SlotState::Decode }
    }

    pub fn is_deserted(&self) -> bool {
        self.waiting.outlet.is_closed()
    }

    /// Whether its reader can take text again, or needs none any more.
    pub fn may_go_on(&self) -> bool {
        self.waiting.outlet.has_room() || self.is_deserted()
    }

    /// Pauses it while its reader is behind, and lets it go on after. Returns since when it
    /// pauses.
    pub fn pause(&mut self, now: Instant) -> Option<Instant> {
        self.paused = if self.may_go_on() { None } else { Some(self.paused.unwrap_or(now)) };
        self.paused
    }

    pub fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// When it has paused for `within`.
    pub fn paused_until(&self, within: Duration) -> Option<Instant> {
        self.paused?.checked_add(within)
    }

    /// The model has run `rows` more of its tokens.
    pub fn ran(&mut self, rows: usize) {
        self.done += rows;
    }

    /// Chooses the next token and sends the text that it completes. Returns why the answer ends,
    /// if it does.
    pub fn choose(
        &mut self,
        logits: &mut [f32],
        tokenizer: &dyn Tokenize,
        now: Instant,
    ) -> Option<FinishReason> {
        let token = match self.sampler.pick(logits, &self.tokens) {
            Ok(token) => token,
            Err(error) => return Some(FinishReason::Error(error.to_string())),
        };
        self.tokens.push(token);
        self.first.get_or_insert(now);
        self.last = now;
        if tokenizer.ends(token) && !self.waiting.request.ignore_end {
            self.end_token = true;
            return Some(FinishReason::Stop);
        }
        let (text, stopped) = self.text.push(tokenizer.bytes(token));
        if let Some(piece) = self.piece(text) {
            self.waiting.outlet.piece(piece);
        }
        if stopped {
            return Some(FinishReason::Stop);
        }
        (self.tokens.len() >= self.room).then_some(FinishReason::Length)
    }

    fn piece(&self, text: String) -> Option<Piece> {
        let tokens = self.generated() - usize::from(self.end_token);
        (!text.is_empty()).then_some(Piece { text, tokens })
    }

    /// Sends what is left of its text, and the end.
    pub fn end(mut self, reason: FinishReason) {
        let rest = self.text.rest();
        let last = self.piece(rest);
        let usage = Usage {
            prompt_tokens: self.prompt,
            cached_tokens: self.cached,
            completion_tokens: self.generated(),
        };
        let timings = Timings {
            queued: self.began - self.waiting.since,
            prefill: self.first.map_or_else(|| self.began.elapsed(), |first| first - self.began),
            decode: self.first.map_or(Duration::ZERO, |first| self.last - first),
        };
        self.waiting.outlet.finish(last, Finish { reason, usage, timings });
    }
}
