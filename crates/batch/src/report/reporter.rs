use std::sync::Arc;
use std::time::Duration;

use dialtone_clock::Clock;
use dialtone_contract::{BatchState, EntryState};
use dialtone_store::{Applied, BatchRow, BatchTransition, Change, Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::render;
use crate::webhook;

/// States in which a batch may want its report.
const ENDING: &[BatchState] = &[BatchState::Completing, BatchState::Cancelling];

/// Wall time after which the reporter looks by itself.
const POLL: Duration = Duration::from_secs(1);

/// Writes the reports of batches whose entries have all ended, and ends those batches.
/// Apart from the dispatcher, which must not wait for the reading of a million rows.
/// Nothing is kept between two steps: a reporter that dies is replaced by any other, and
/// the first report that is written stays.
pub struct Reporter {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Reporter {
    /// A reporter over `store`; any number may run.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Reports until `shutdown`; a report that is not written by then is begun anew by
    /// the next reporter.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut changes = self.store.changes();
        while !shutdown.is_cancelled() {
            changes.mark_unchanged();
            let ticked = tokio::select! {
                () = shutdown.cancelled() => return,
                ticked = self.tick() => ticked,
            };
            match ticked {
                Ok(n) if n > 0 => continue,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "a report was not written, trying again");
                    // Not at each commit: a report is read from its first row again.
                    let _ = tokio::time::timeout(POLL, shutdown.cancelled()).await;
                    continue;
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                _ = changes.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Ends each batch that has nothing left to do, with its report; gives their number.
    ///
    /// # Errors
    /// If the store fails for one of them; the others are ended all the same.
    pub async fn tick(&self) -> Result<usize, StoreError> {
        let mut ended = 0;
        let mut failed = None;
        for batch in self.store.batches_in(ENDING).await? {
            if batch.count(|state: EntryState| !state.is_terminal()) > 0 {
                continue;
            }
            match self.end(&batch).await {
                Ok(applied) => ended += usize::from(applied),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(ended), Err)
    }

    async fn end(&self, batch: &BatchRow) -> Result<bool, StoreError> {
        let (tenant, id) = (&batch.tenant, &batch.id);
        if self.store.reports(tenant, id).await?.is_empty() {
            let report = render(&*self.store, batch).await?;
            for broken in report.invariants.iter().filter(|invariant| !invariant.holds) {
                let (name, detail) = (&broken.name, &broken.detail);
                tracing::error!(batch.id = %id, name, detail, "an invariant does not hold");
            }
            let text = serde_json::to_string(&report).expect("reports are plain data");
            self.store.put_report(tenant, id, &text, self.clock.now()).await?;
        }
        let cancelled = batch.state == BatchState::Cancelling;
        let now = self.clock.now();
        let change = BatchTransition {
            tenant: tenant.clone(),
            batch: id.clone(),
            from: batch.state,
            unmoved_since: None,
            to: if cancelled { BatchState::Cancelled } else { BatchState::Completed },
            reason: batch.reason.clone(),
            limits: None,
            cancel: None,
            outbox: webhook::of_batch(batch, now),
            at: now,
        };
        let applied = self.store.apply(&[Change::Batch(change)]).await?;
        Ok(applied.first().is_some_and(Applied::is_applied))
    }
}
