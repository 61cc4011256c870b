//! What a hive has received.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dialtone_contract::wire::Heartbeat;
use tokio::sync::watch;

/// Beats that are kept; of more, the newest.
pub const KEPT: usize = 10_000;

/// One heartbeat as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// When it came.
    pub at: Instant,
    /// The beat, or why it cannot be read.
    pub beat: Result<Heartbeat, String>,
    /// The status that it was answered with.
    pub status: u16,
}

/// Everything received, in order. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Book(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pages: Mutex<Pages>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Pages {
    arrivals: VecDeque<Arrival>,
    total: u64,
    refused: u64,
}

impl Default for Book {
    fn default() -> Self {
        let pages = Mutex::default();
        Self(Arc::new(Shared { pages, changed: watch::Sender::new(0) }))
    }
}

impl Book {
    /// The beats that are kept, oldest first.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.pages().arrivals.iter().cloned().collect()
    }

    /// How many came in all.
    pub fn total(&self) -> u64 {
        self.pages().total
    }

    /// How many connections were closed at once because the hive was down.
    pub fn refused(&self) -> u64 {
        self.pages().refused
    }

    /// Waits until `enough` is said of the beats and the refusals; says whether it came in time.
    pub async fn until(
        &self,
        within: Duration,
        enough: impl Fn(&[Arrival], u64) -> bool + Send,
    ) -> bool {
        let mut changed = self.0.changed.subscribe();
        let look = async {
            loop {
                changed.borrow_and_update();
                let holds = {
                    let mut pages = self.pages();
                    let refused = pages.refused;
                    enough(pages.arrivals.make_contiguous(), refused)
                };
                if holds || changed.changed().await.is_err() {
                    return holds;
                }
            }
        };
        tokio::time::timeout(within, look).await.unwrap_or(false)
    }

    /// Keeps what came; the beat, and how long after the last one it came.
    pub(super) fn write(
        &self,
        body: &[u8],
        status: u16,
    ) -> (Result<Heartbeat, String>, Option<Duration>) {
        let beat: Result<Heartbeat, _> =
            serde_json::from_slice(body).map_err(|error| error.to_string());
        let gap = {
            let mut pages = self.pages();
            let at = Instant::now();
            let gap = pages.arrivals.back().map(|last| at.duration_since(last.at));
            pages.total += 1;
            if pages.arrivals.len() == KEPT {
                pages.arrivals.pop_front();
            }
            pages.arrivals.push_back(Arrival { at, beat: beat.clone(), status });
            gap
        };
        self.tell();
        (beat, gap)
    }

    pub(super) fn refuse(&self) {
        self.pages().refused += 1;
        self.tell();
    }

    fn tell(&self) {
        self.0.changed.send_modify(|version| *version += 1);
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
