use std::sync::Arc;
use std::time::Duration;

use dialtone_clock::Clock;
use dialtone_contract::limits;
use dialtone_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

/// Wall time between two rounds.
const ROUND: Duration = Duration::from_secs(3600);

/// Forgets what nobody can ask for any more.
pub struct Housekeeping {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Housekeeping {
    /// Keeps `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Does a round at once and every hour until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            match self.tick().await {
                Ok(0) => {}
                Ok(rows) => tracing::info!(rows, "old idempotency keys and numbers were forgotten"),
                Err(error) => tracing::warn!(%error, "old keys and numbers stay for now"),
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }

    /// One round; the number of idempotency keys that it forgot, and of numbers that may be
    /// called again.
    ///
    /// # Errors
    /// If the store fails; the next round does it.
    pub async fn tick(&self) -> Result<u64, StoreError> {
        // Clients repeat requests in wall time, however fast the timeline runs.
        let kept = self.clock.scale().product(limits::IDEMPOTENCY_KEPT);
        let now = self.clock.now();
        let mut forgotten = self.store.forget_keys(now - kept).await?;
        // In slices, so that no claim waits long for the writer.
        loop {
            let numbers = self.store.forget_numbers(now, limits::SELECT_MAX).await?;
            forgotten += u64::from(numbers);
            if numbers < limits::SELECT_MAX {
                return Ok(forgotten);
            }
        }
    }
}
