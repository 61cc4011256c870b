//! The dispatcher: claims, sends, expires, closes, in a loop.

mod claim;
mod close;
mod expire;
mod flow;
mod memory;
mod outage;
mod run;
mod send;
mod trip;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dialtone_auth::Capabilities;
use dialtone_clock::Clock;
use dialtone_contract::{BatchState, limits};
use dialtone_livekit::LiveKit;
use dialtone_store::{Store, StoreError};
use tokio::sync::{Notify, Semaphore, watch};

use self::flow::Flow;
use self::memory::Memory;
use crate::breaker::Breaker;
use crate::specs::Specs;
use crate::{BatchMetrics, Rules};

pub use self::claim::{Claims, Leased};

/// States in which a batch's entries may be claimed.
pub(crate) const CLAIMABLE: &[BatchState] = &[BatchState::Accepted, BatchState::Running];

/// States in which a batch needs a dispatcher.
const ACTIVE: &[BatchState] = &[
    BatchState::Accepted,
    BatchState::Running,
    BatchState::Paused,
    BatchState::Completing,
    BatchState::Cancelling,
];

/// What a dispatcher needs to know of its surroundings.
#[derive(Clone)]
pub struct DispatcherOptions {
    /// Base URL of the API, as agents reach it.
    pub api_url: String,
    /// Mints the capability of each attempt.
    pub capabilities: Capabilities,
}

/// Claims due entries, sends their dispatches, ends what is overdue, closes batches.
///
/// Stateless: everything it decides on it reads from the store each time, so that any
/// number of dispatchers may run and any may die. What it remembers only spares it work.
pub struct Dispatcher {
    store: Arc<dyn Store>,
    livekit: Arc<dyn LiveKit>,
    clock: Arc<dyn Clock>,
    rules: Rules,
    options: DispatcherOptions,
    metrics: BatchMetrics,
    epoch: u64,
    specs: Specs,
    permits: Arc<Semaphore>,
    /// A permit has come free.
    freed: Notify,
    breaker: Breaker,
    trouble: watch::Sender<Trouble>,
    memory: Mutex<Memory>,
    flow: Flow,
}

/// What keeps a dispatcher from working, in words; `None` where nothing does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// With LiveKit.
    pub livekit: Option<String>,
    /// With the store.
    pub store: Option<String>,
}

impl Dispatcher {
    /// A dispatcher with a lease epoch of its own.
    ///
    /// # Errors
    /// If the store cannot give an epoch.
    pub async fn new(
        store: Arc<dyn Store>,
        livekit: Arc<dyn LiveKit>,
        clock: Arc<dyn Clock>,
        options: DispatcherOptions,
        metrics: BatchMetrics,
    ) -> Result<Self, StoreError> {
        let epoch = store.next_epoch().await?;
        let permits = Arc::new(Semaphore::new(limits::DISPATCHES_AT_ONCE));
        let rules = Rules::new(clock.scale());
        let breaker = Breaker::new(clock.scale(), epoch);
        Ok(Self {
            specs: Specs::new(Arc::clone(&store)),
            store,
            livekit,
            clock,
            rules,
            options,
            metrics,
            epoch,
            permits,
            freed: Notify::new(),
            breaker,
            trouble: watch::Sender::default(),
            memory: Mutex::default(),
            flow: Flow::default(),
        })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("no holder of the lock panics")
    }

    /// What keeps this dispatcher from working, as it changes.
    pub fn trouble(&self) -> watch::Receiver<Trouble> {
        self.trouble.subscribe()
    }

    /// Removes batches that were still loading when their server died; nobody was told that
    /// they exist. Other servers may be loading some in this moment, if they share the store:
    /// those that were begun less than `older` ago (wall time) stay.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn discard_unfinished_loads(&self, older: Duration) -> Result<(), StoreError> {
        let (now, span) = (self.clock.now(), self.clock.scale().product(older));
        for batch in self.store.batches_in(&[BatchState::Loading]).await? {
            if now.since(batch.created_at) >= span {
                self.store.discard_batch(&batch.tenant, &batch.id).await?;
            }
        }
        Ok(())
    }
}
