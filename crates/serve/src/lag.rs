//! How late the event loop turns. A process whose loop lags past
//! `dialtone_contract::limits::LOOP_LAG_MAX` makes a run invalid.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Time between two looks.
const TICK: Duration = Duration::from_millis(20);
/// Slots of the last minute, one a second.
const SLOTS: usize = 60;

/// Measures how late the loop turns, from its start to the drop of its last clone.
#[derive(Clone, Debug)]
pub struct LoopLag {
    state: Arc<Mutex<State>>,
    _end: Arc<DropGuard>,
}

#[derive(Debug)]
struct State {
    started: Instant,
    max: Duration,
    // The largest lag of each of the last seconds, with the second it belongs to.
    recent: [(u64, Duration); SLOTS],
}

impl LoopLag {
    /// Starts measuring on the current tokio runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start() -> Self {
        let started = Instant::now();
        let recent = [(0, Duration::ZERO); SLOTS];
        let state = Arc::new(Mutex::new(State { started, max: Duration::ZERO, recent }));
        let end = CancellationToken::new();
        let (shared, ended) = (Arc::clone(&state), end.clone());
        tokio::spawn(async move {
            while !ended.is_cancelled() {
                let before = Instant::now();
                sleep(TICK).await;
                record(&shared, before.elapsed().saturating_sub(TICK));
            }
        });
        Self { state, _end: Arc::new(end.drop_guard()) }
    }

    /// The largest lag since the start.
    pub fn max(&self) -> Duration {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).max
    }

    /// The largest lag of the last minute.
    pub fn max_last_minute(&self) -> Duration {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = state.started.elapsed().as_secs();
        let fresh = state.recent.iter().filter(|(second, _)| second + SLOTS as u64 > now);
        fresh.map(|(_, lag)| *lag).max().unwrap_or_default()
    }
}

fn record(state: &Mutex<State>, lag: Duration) {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    state.max = state.max.max(lag);
    let second = state.started.elapsed().as_secs();
    let slot = &mut state.recent[(second % SLOTS as u64) as usize];
    if slot.0 == second {
        slot.1 = slot.1.max(lag);
    } else {
        *slot = (second, lag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_blocked_loop_shows() {
        let lag = LoopLag::start();
        tokio::task::yield_now().await;
        // Blocks the only thread of this runtime: the fault to be seen.
        std::thread::sleep(Duration::from_millis(80));
        sleep(TICK * 2).await;
        assert!(lag.max() >= Duration::from_millis(40), "{:?}", lag.max());
        assert_eq!(lag.max(), lag.max_last_minute());
    }
}
