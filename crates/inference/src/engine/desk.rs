use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::outlet::Outlet;
use super::pace::Pace;
use super::{Finish, FinishReason, Options, Request, SlotState, SlotView, Stats, Timings, Usage};
use crate::decoder::Shape;

/// What the callers and the engine's thread share: what is asked, and what is to be seen.
/// Held for moments only; the model is not behind it.
pub(super) struct Desk {
    pub shape: Shape,
    pub options: Options,
    /// Tokens of the longest sequence that the memory can hold.
    pub longest: usize,
    state: Mutex<State>,
    bell: Condvar,
    /// The thread sleeps until a reader takes something or goes.
    starved: AtomicBool,
    pub ended: watch::Sender<bool>,
}

#[derive(Default)]
pub(super) struct State {
    /// In the order in which they came.
    pub waiting: VecDeque<Waiting>,
    /// Ids of running requests that are to end.
    pub cancels: Vec<String>,
    pub slots: Vec<SlotView>,
    /// All but `slots_busy`, `queue_depth` and `tokens_per_s`, which are counted when asked for.
    pub stats: Stats,
    pub pace: Pace,
    /// When the next running request is likely to end.
    pub next_end: Option<Instant>,
    /// No handle is left: ends when nothing runs.
    pub orphaned: bool,
    /// When what still runs is ended.
    pub deadline: Option<Instant>,
    /// Something happened since the thread last looked.
    rung: bool,
    /// Rounds of the thread so far.
    pub turns: u64,
    /// The thread is in one of them, and does not sleep.
    pub at_work: bool,
}

/// A request without a slot.
pub(super) struct Waiting {
    pub request: Request,
    pub outlet: Outlet,
    pub since: Instant,
    /// When it began to run, for its caller to see.
    pub begun: Arc<OnceLock<Instant>>,
    /// The memory had no room for it, and nothing has ended since.
    pub blocked: bool,
}

impl Waiting {
    pub fn new(request: Request, outlet: Outlet) -> Self {
        Self { request, outlet, since: Instant::now(), begun: Arc::default(), blocked: false }
    }

    /// Ends it before it began.
    pub fn end(self, reason: FinishReason) {
        let usage = Usage { prompt_tokens: self.request.prompt.len(), ..Usage::default() };
        let timings = Timings { queued: self.since.elapsed(), ..Timings::default() };
        self.outlet.finish(None, Finish { reason, usage, timings });
    }
}

impl Desk {
    pub fn new(shape: Shape, longest: usize, options: Options) -> Self {
        let slots = (0..shape.slots).map(idle).collect();
        let stats = Stats { slots_total: shape.slots, ..Stats::default() };
        let state = Mutex::new(State { slots, stats, ..State::default() });
        let (bell, starved) = (Condvar::new(), AtomicBool::new(false));
        Self { shape, options, longest, state, bell, starved, ended: watch::Sender::new(false) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        // Every change leaves it whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread.
    pub fn ring(&self, mut state: MutexGuard<'_, State>) {
        state.rung = true;
        drop(state);
        self.bell.notify_one();
    }

    /// A reader has taken something, or has gone.
    pub fn read(&self) {
        // Pairs with the fence in `starve`: either this sees the flag, or the thread sees the
        // room that the reader made.
        fence(Ordering::SeqCst);
        if self.starved.load(Ordering::Relaxed) {
            self.ring(self.state());
        }
    }

    /// Asks readers to ring (or not to). What they made room for before must be looked at after.
    pub fn starve(&self, yes: bool) {
        self.starved.store(yes, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Sleeps until something happens or the time is over.
    pub fn wait(&self, within: Option<Duration>) {
        let until = within.map(|within| Instant::now() + within);
        let mut state = self.state();
        state.at_work = false;
        while !state.rung {
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.bell.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => {
                    self.bell.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.rung = false;
        state.at_work = true;
    }
}

/// A slot without a request.
pub(super) fn idle(id: usize) -> SlotView {
    SlotView { id, state: SlotState::Idle, request: None, prompt_tokens: 0, generated: 0 }
}
