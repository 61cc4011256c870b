use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::desk::{Desk, State, Waiting};
use super::outlet::Outlet;
use super::{FinishReason, Generation, Options, Refused, Request, SlotView, Stats, work};
use crate::decoder::{Decoder, Shape};
use crate::tokenizer::Tokenize;

/// Texts at which one answer may end.
const STOPS: usize = 16;
/// Bytes of one of them.
const STOP_BYTES: usize = 1024;
/// Bytes of an id or a session's name: slots keep them.
const NAME_BYTES: usize = 1024;
/// For ever, as far as a process is concerned, and still a time that can be told.
const LONG: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// What [`Refused::Full`] tells at least and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A handle to the thread that runs the model; clones are cheap and mean the same engine.
///
/// The thread ends after [`finish`](Self::finish), or when the last handle is dropped and
/// nothing runs any more.
#[derive(Clone)]
pub struct Engine {
    owner: Arc<Owner>,
}

/// Shared by the handles alone, so that the thread can tell when the last has gone.
struct Owner {
    desk: Arc<Desk>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut state = self.desk.state();
        state.orphaned = true;
        self.desk.ring(state);
    }
}

impl Engine {
    /// Starts the thread that owns `decoder`. If the system has no thread to give, the engine
    /// says so to every [`submit`](Self::submit).
    pub fn start(
        decoder: Box<dyn Decoder>,
        tokenizer: Arc<dyn Tokenize>,
        options: Options,
    ) -> Self {
        let shape = decoder.shape();
        let longest = shape.context.min(decoder.kv().total);
        let desk = Arc::new(Desk::new(shape, longest, options));
        if shape.slots == 0 || shape.vocab == 0 {
            desk.state().stats.failed = Some("the model has no slots, or no vocabulary".to_owned());
            desk.ended.send_replace(true);
        } else {
            work::spawn(Arc::clone(&desk), decoder, tokenizer);
        }
        Self { owner: Arc::new(Owner { desk }) }
    }

    /// Takes a request, or says at once why not. Never waits.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn submit(&self, request: Request) -> Result<Generation, Refused> {
        let desk = &self.owner.desk;
        check(&request, desk.shape, desk.longest)?;
        let mut state = desk.state();
        state.has_room(desk)?;
        let (outlet, outputs) = Outlet::new(desk.options.output_buffer);
        let waiting = Waiting::new(request, outlet);
        let begun = (waiting.since, Arc::clone(&waiting.begun));
        state.waiting.push_back(waiting);
        desk.ring(state);
        Ok(Generation::new(outputs, Arc::clone(desk), begun))
    }

    /// Whether a request would be taken now: for callers to whom it is work to write one. It may
    /// be different a moment later.
    ///
    /// # Errors
    /// [`Refused`], as [`submit`](Self::submit) would.
    pub fn has_room(&self) -> Result<(), Refused> {
        let desk = &self.owner.desk;
        desk.state().has_room(desk)
    }

    /// Tokens of the longest sequence that it can run, prompt and answer together.
    pub fn longest(&self) -> usize {
        self.owner.desk.longest
    }

    /// The number of the turn that its thread is at; `None` while that sleeps. Whoever sees the
    /// same number for long sees a model that does not come back from a step.
    pub fn turn(&self) -> Option<u64> {
        let state = self.owner.desk.state();
        state.at_work.then_some(state.turns)
    }

    /// Returns when its thread has ended: after [`finish`](Self::finish), or because the model
    /// has failed for good.
    pub async fn ended(&self) {
        // Fails only if the sender is gone, which this handle keeps.
        let _ = self.owner.desk.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Ends the requests with this id, waiting or running, within one step. Whether there was one.
    pub fn cancel(&self, id: &str) -> bool {
        let desk = &self.owner.desk;
        let mut state = desk.state();
        let waiting = state.cancel_waiting(id);
        let running = state.slots.iter().any(|slot| slot.request.as_deref() == Some(id));
        if running {
            state.cancels.push(id.to_owned());
            desk.ring(state);
        }
        waiting || running
    }

    /// What it has done and is doing.
    pub fn stats(&self) -> Stats {
        self.owner.desk.state().stats()
    }

    /// What each slot does.
    pub fn slots(&self) -> Vec<SlotView> {
        self.owner.desk.state().slots.clone()
    }

    /// The sizes of its model.
    pub fn shape(&self) -> Shape {
        self.owner.desk.shape
    }

    /// Takes nothing new from now on. What was taken, the waiting requests too, goes on.
    pub fn drain(&self) {
        let mut state = self.owner.desk.state();
        state.stats.draining = true;
        self.owner.desk.ring(state);
    }

    /// Drains, and returns when the thread has ended: as soon as nothing runs or waits, or one
    /// step after `within`, when what is left ends with [`FinishReason::Shutdown`]. Called
    /// again, the earlier end counts.
    pub async fn finish(&self, within: Duration) {
        self.finish_by(Instant::now() + within.min(LONG));
        self.ended().await;
    }

    fn finish_by(&self, deadline: Instant) {
        let mut state = self.owner.desk.state();
        state.stats.draining = true;
        state.deadline = Some(state.deadline.map_or(deadline, |earlier| earlier.min(deadline)));
        self.owner.desk.ring(state);
    }
}

impl State {
    /// Slots without a request.
    fn free(&self) -> usize {
        self.slots.iter().filter(|slot| slot.request.is_none()).count()
    }

    /// Whether there is a place for one more.
    fn has_room(&mut self, desk: &Desk) -> Result<(), Refused> {
        if let Some(reason) = &self.stats.failed {
            return Err(Refused::Failed { reason: reason.clone() });
        }
        if self.stats.draining {
            return Err(Refused::Draining);
        }
        let places = desk.options.queue + self.free();
        if self.waiting.len() >= places {
            // Those whose caller has gone take no place.
            self.drop_deserted();
        }
        if self.waiting.len() < places {
            return Ok(());
        }
        Err(Refused::Full {
            slots: desk.shape.slots,
            queued: self.waiting.len(),
            retry_after: retry_after(self.next_end),
        })
    }

    /// Ends the waiting requests with this id. Whether there was one.
    pub fn cancel_waiting(&mut self, id: &str) -> bool {
        let (ended, waiting): (VecDeque<Waiting>, _) =
            self.waiting.drain(..).partition(|waiting| waiting.request.id == id);
        self.waiting = waiting;
        self.stats.finished += ended.len() as u64;
        self.stats.cancelled += ended.len() as u64;
        let any = !ended.is_empty();
        ended.into_iter().for_each(|waiting| waiting.end(FinishReason::Cancelled));
        any
    }

    /// Forgets the waiting requests whose caller has gone.
    pub fn drop_deserted(&mut self) {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| !waiting.outlet.is_closed());
        let gone = (before - self.waiting.len()) as u64;
        self.stats.finished += gone;
        self.stats.cancelled += gone;
    }

    fn stats(&self) -> Stats {
        let (queue_depth, tokens_per_s) = (self.waiting.len(), self.pace.rate(Instant::now()));
        // A request has its slot from its admission on, which may be a long step before the
        // thread shows its own figures again.
        let slots_busy = self.slots.len() - self.free();
        Stats { queue_depth, tokens_per_s, slots_busy, ..self.stats.clone() }
    }
}

/// When a waiting place is likely to be free: when the first of the running requests ends.
fn retry_after(next_end: Option<Instant>) -> Duration {
    let left = next_end.map_or(RETRY.0, |end| end.saturating_duration_since(Instant::now()));
    left.clamp(RETRY.0, RETRY.1)
}

/// Refuses what can never be served.
fn check(request: &Request, shape: Shape, longest: usize) -> Result<(), Refused> {
    let invalid = |field, reason: String| Err(Refused::Invalid { field, reason });
    if request.prompt.is_empty() {
        return invalid("prompt", "must not be empty".to_owned());
    }
    if request.prompt.len() >= longest {
        let (prompt, most) = (request.prompt.len(), longest.saturating_sub(1));
        return Err(Refused::TooLong { prompt, most });
    }
    if let Some(token) = request.prompt.iter().find(|token| **token as usize >= shape.vocab) {
        let reason = format!("token {token} is outside the vocabulary of {}", shape.vocab);
        return invalid("prompt", reason);
    }
    if request.max_tokens == 0 {
        return invalid("max_tokens", "must be at least 1".to_owned());
    }
    if request.stop.len() > STOPS {
        return invalid("stop", format!("{} texts, at most {STOPS} are taken", request.stop.len()));
    }
    if request.stop.iter().any(String::is_empty) {
        return invalid("stop", "a text at which to stop must not be empty".to_owned());
    }
    if request.stop.iter().any(|stop| stop.len() > STOP_BYTES) {
        return invalid("stop", format!("a text is longer than {STOP_BYTES} bytes"));
    }
    for (field, name) in [("id", Some(&request.id)), ("session", request.session.as_ref())] {
        if name.is_some_and(|name| name.len() > NAME_BYTES) {
            return invalid(field, format!("longer than {NAME_BYTES} bytes"));
        }
    }
    request.sampling.validate().or_else(|(field, reason)| invalid(field, reason))
}
