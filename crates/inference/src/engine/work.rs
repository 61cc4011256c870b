use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::desk::{Desk, Waiting, idle};
use super::estimate::Estimate;
use super::plan::plan;
use super::sequence::Sequence;
use super::slot::Slot;
use super::{FinishReason, SlotState};
use crate::decoder::{DecodeError, Decoder, Row};
use crate::tokenizer::Tokenize;

/// Starts the thread that owns the model.
pub(super) fn spawn(desk: Arc<Desk>, decoder: Box<dyn Decoder>, tokenizer: Arc<dyn Tokenize>) {
    let shared = Arc::clone(&desk);
    let run = move || {
        let _ended = Ended(Arc::clone(&desk));
        desk.state().at_work = true;
        Work::new(desk, decoder, tokenizer).run();
    };
    if let Err(error) = std::thread::Builder::new().name("engine".to_owned()).spawn(run) {
        shared.state().stats.failed = Some(format!("no thread to run it on: {error}"));
        shared.ended.send_replace(true);
    }
}

/// Says that the thread has ended, however it does.
struct Ended(Arc<Desk>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.state().at_work = false;
        self.0.ended.send_replace(true);
    }
}

/// The thread's side of the engine.
struct Work {
    desk: Arc<Desk>,
    decoder: Box<dyn Decoder>,
    tokenizer: Arc<dyn Tokenize>,
    slots: Vec<Slot>,
    /// Sequences out of their slots, whose callers are told once the desk shows it.
    ended: Vec<(Sequence, FinishReason)>,
    rows: Vec<Row>,
    logits: Vec<f32>,
    /// Steps so far.
    step: u64,
    /// Sequences begun so far.
    begun: u64,
    estimate: Estimate,
}

/// What to do next.
enum Next {
    Step,
    Wait(Option<Duration>),
    End,
}

impl Work {
    fn new(desk: Arc<Desk>, decoder: Box<dyn Decoder>, tokenizer: Arc<dyn Tokenize>) -> Self {
        Self {
            slots: (0..desk.shape.slots).map(|_| Slot::default()).collect(),
            desk,
            decoder,
            tokenizer,
            ended: Vec::new(),
            rows: Vec::new(),
            logits: Vec::new(),
            step: 0,
            begun: 0,
            estimate: Estimate::default(),
        }
    }

    fn run(mut self) {
        // Whatever panics in here, the callers are told; the model is not used again.
        let result = catch_unwind(AssertUnwindSafe(|| self.work()));
        if let Err(panic) = result {
            self.fail(&what(panic.as_ref()));
        }
        // A model that panicked once may do so again.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(self)));
    }

    fn work(&mut self) {
        self.publish();
        loop {
            self.tend();
            self.admit();
            let taken = plan(&self.slots, &self.desk.options, &mut self.rows);
            if !taken.is_empty() {
                self.step(&taken);
                continue;
            }
            self.publish();
            match self.next() {
                Next::Step => {}
                Next::Wait(within) => self.desk.wait(within),
                Next::End => return,
            }
            self.desk.starve(false);
        }
    }

    /// What to do when there are no rows to run.
    fn next(&mut self) -> Next {
        let state = self.desk.state();
        let (deadline, orphaned) = (state.deadline, state.orphaned);
        let waiting = !state.waiting.is_empty();
        drop(state);
        let now = Instant::now();
        let running = || self.slots.iter().filter_map(|slot| slot.sequence.as_ref());
        if running().next().is_none() {
            return match (deadline, orphaned) {
                // What came since the last admission comes first.
                _ if waiting => Next::Step,
                (Some(_), _) | (_, true) => Next::End,
                (None, false) => Next::Wait(None),
            };
        }
        // All that run wait for their readers.
        self.desk.starve(true);
        if running().any(Sequence::may_go_on) {
            return Next::Step;
        }
        let stuck_after = self.desk.options.stuck_after;
        let stuck = running().filter_map(|s| s.paused_until(stuck_after)).min();
        let until = stuck.into_iter().chain(deadline).min();
        Next::Wait(until.map(|until| until.saturating_duration_since(now)))
    }

    /// Ends what was cancelled, left alone or is overdue, and pauses what its reader holds up.
    fn tend(&mut self) {
        let mut state = self.desk.state();
        state.turns += 1;
        let cancels = std::mem::take(&mut state.cancels);
        for id in &cancels {
            // It may have gone back to the queue since.
            state.cancel_waiting(id);
        }
        state.drop_deserted();
        let now = Instant::now();
        let overdue = state.deadline.is_some_and(|deadline| now >= deadline);
        let late: Vec<Waiting> =
            if overdue { state.waiting.drain(..).collect() } else { Vec::new() };
        state.stats.finished += late.len() as u64;
        drop(state);
        late.into_iter().for_each(|waiting| waiting.end(FinishReason::Shutdown));
        for slot in 0..self.slots.len() {
            let Some(sequence) = &mut self.slots[slot].sequence else { continue };
            let paused = sequence.pause(now);
            let stuck = paused.is_some_and(|since| now - since >= self.desk.options.stuck_after);
            if sequence.is_deserted() || stuck || cancels.iter().any(|id| id == sequence.id()) {
                self.end(slot, FinishReason::Cancelled);
            } else if overdue {
                self.end(slot, FinishReason::Shutdown);
            }
        }
        if !self.ended.is_empty() {
            self.publish();
        }
    }

    /// Gives free slots to those who wait, in their order.
    fn admit(&mut self) {
        loop {
            let mut state = self.desk.state();
            let Some(front) = state.waiting.front() else { return };
            let slot = Slot::choose(&self.slots, front.request.session.as_deref());
            let (Some(slot), false) = (slot, front.blocked) else { return };
            let Some(waiting) = state.waiting.pop_front() else { return };
            let sequence = Sequence::new(waiting, self.desk.longest, self.step);
            let view = &mut state.slots[slot];
            view.request = Some(sequence.id().to_owned());
            view.prompt_tokens = sequence.prompt_tokens();
            view.state = SlotState::Prefill;
            drop(state);
            if !self.open(slot, sequence) {
                return;
            }
        }
    }

    /// Begins a sequence. Returns false if it has to wait for room.
    fn open(&mut self, slot: usize, sequence: Sequence) -> bool {
        let alone = self.slots.iter().all(|slot| slot.sequence.is_none());
        let place = &mut self.slots[slot];
        self.begun += 1;
        place.take(sequence, self.begun);
        // It is in its slot already, so that even a panic finds it there.
        let Some(sequence) = &mut place.sequence else { return true };
        match self.decoder.open(slot, sequence.tokens(), sequence.room) {
            Ok(cached) if cached < sequence.pending() => {
                sequence.skip(cached);
                self.desk.state().stats.cached_tokens += cached as u64;
            }
            Ok(cached) => {
                let reason = format!("{cached} tokens remembered leave none to run");
                self.end(slot, FinishReason::Error(reason));
                self.publish();
            }
            Err(DecodeError::NoRoom { .. }) if !alone => {
                if let Some(sequence) = place.sequence.take() {
                    let mut state = self.desk.state();
                    state.slots[slot] = idle(slot);
                    state.waiting.push_front(sequence.back());
                }
                return false;
            }
            Err(error) => {
                // Not opened, so there is nothing to close.
                let sequence = place.sequence.take();
                let reason = FinishReason::Error(error.to_string());
                self.ended.extend(sequence.map(|sequence| (sequence, reason)));
                self.publish();
            }
        }
        true
    }

    /// Runs the planned rows, and sends what comes of them.
    fn step(&mut self, taken: &[(usize, usize)]) {
        let began = Instant::now();
        self.step += 1;
        self.logits.clear();
        let vocab = self.desk.shape.vocab;
        let wanted = self.rows.iter().filter(|row| row.logits).count() * vocab;
        let result = match self.decoder.decode(&self.rows, &mut self.logits) {
            Ok(()) if self.logits.len() != wanted => {
                Err(format!("{} logits instead of {wanted}", self.logits.len()))
            }
            other => other.map_err(|error| error.to_string()),
        };
        let now = Instant::now();
        let (mut generated, mut read) = (0, 0);
        if let Err(reason) = result {
            tracing::error!(reason, rows = self.rows.len(), "the model failed in a step");
            for (slot, _) in taken {
                self.end(*slot, FinishReason::Error(reason.clone()));
            }
        } else {
            let mut logits = std::mem::take(&mut self.logits);
            let mut rows = logits.chunks_exact_mut(vocab);
            for (slot, count) in taken {
                let Some(sequence) = &mut self.slots[*slot].sequence else { continue };
                if sequence.state() == SlotState::Prefill {
                    read += *count as u64;
                }
                sequence.ran(*count);
                if sequence.pending() > 0 {
                    continue;
                }
                let Some(row) = rows.next() else { continue };
                let end = sequence.choose(row, &*self.tokenizer, now);
                generated += u64::from(!matches!(end, Some(FinishReason::Error(_))));
                if let Some(reason) = end {
                    self.end(*slot, reason);
                }
            }
            self.logits = logits;
        }
        let work = began.elapsed();
        self.estimate.stepped(work);
        let mut state = self.desk.state();
        state.pace.step(began + work, work, generated);
        state.stats.generated_tokens += generated;
        state.stats.prompt_tokens += read;
        drop(state);
        self.publish();
    }

    /// Ends the sequence in `slot`; its caller is told by [`publish`](Self::publish).
    fn end(&mut self, slot: usize, reason: FinishReason) {
        let Some(sequence) = self.slots[slot].sequence.take() else { return };
        if matches!(reason, FinishReason::Stop | FinishReason::Length) {
            self.estimate.answered(sequence.generated());
        }
        self.ended.push((sequence, reason));
        self.decoder.close(slot);
        // There may be room now.
        if let Some(front) = self.desk.state().waiting.front_mut() {
            front.blocked = false;
        }
    }

    /// Shows on the desk what the slots do, then tells those that have ended: who hears of the
    /// end finds the slot free.
    fn publish(&mut self) {
        let kv = self.decoder.kv();
        let running = self.slots.iter().filter_map(|slot| slot.sequence.as_ref());
        let next_end = self.estimate.next_end(running, &self.desk.options, Instant::now());
        let mut state = self.desk.state();
        for (view, slot) in state.slots.iter_mut().zip(&self.slots) {
            match &slot.sequence {
                Some(sequence) => {
                    view.state = sequence.state();
                    view.generated = sequence.generated();
                }
                None if view.request.is_some() => *view = idle(view.id),
                None => {}
            }
        }
        let stats = &mut state.stats;
        (stats.kv_used, stats.kv_cached, stats.kv_total) = (kv.used, kv.cached, kv.total);
        let cancelled = |(_, reason): &&(_, FinishReason)| *reason == FinishReason::Cancelled;
        stats.finished += self.ended.len() as u64;
        stats.cancelled += self.ended.iter().filter(cancelled).count() as u64;
        state.next_end = next_end;
        drop(state);
        for (sequence, reason) in self.ended.drain(..) {
            sequence.end(reason);
        }
    }

    /// Ends everything and for good: the model cannot be trusted any more.
    fn fail(&mut self, reason: &str) {
        tracing::error!(reason, "the model has failed for good");
        let running = self.slots.iter_mut().filter_map(|slot| slot.sequence.take());
        let error = || FinishReason::Error(reason.to_owned());
        self.ended.extend(running.map(|sequence| (sequence, error())));
        let mut state = self.desk.state();
        let waiting: Vec<Waiting> = state.waiting.drain(..).collect();
        state.stats.failed = Some(reason.to_owned());
        state.stats.finished += (waiting.len() + self.ended.len()) as u64;
        state.slots.iter_mut().for_each(|view| *view = idle(view.id));
        drop(state);
        waiting.into_iter().for_each(|waiting| waiting.end(error()));
        for (sequence, reason) in self.ended.drain(..) {
            sequence.end(reason);
        }
    }
}

/// What a panic says.
fn what(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.unwrap_or_else(|| "without a text".to_owned()))
}
