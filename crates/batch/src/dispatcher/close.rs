//! Moves batches on: starts them, ends what a cancel ends, hands them to the reporter.

use dialtone_contract::{BatchState, CancelMode, EntryState, limits};
use dialtone_store::{BatchRow, BatchTransition, CallRow, Change, EntryRow, StoreError};

use super::{ACTIVE, Dispatcher};
use crate::{Happening, WhileWaiting};

impl Dispatcher {
    /// Starts accepted batches, pauses those whose breakers trip, ends what a cancel ends,
    /// and hands batches with nothing left to do to the [`crate::Reporter`]; gives the
    /// number of steps taken.
    ///
    /// # Errors
    /// If the store fails; the steps are taken again.
    pub async fn close(&self) -> Result<usize, StoreError> {
        Ok(self.advance().await? + self.end().await?)
    }

    /// Starts accepted batches, pauses those whose breakers trip, and hands those with
    /// nothing left to do to the reporter.
    pub(super) async fn advance(&self) -> Result<usize, StoreError> {
        let (mut steps, mut changes) = (0, Vec::new());
        let batches = self.store.batches_in(ACTIVE).await?;
        let outage = self.trouble.borrow().livekit.is_some();
        self.memory().close(&batches, outage);
        for batch in batches {
            let open = batch.count(|state| !state.is_terminal()) > 0;
            let next = match batch.state {
                BatchState::Accepted => BatchState::Running,
                BatchState::Running | BatchState::Paused if !open => BatchState::Completing,
                BatchState::Running | BatchState::Paused => {
                    steps += self.note_livekit(&batch).await?;
                    steps += self.judge(&batch).await?;
                    continue;
                }
                _ => continue,
            };
            changes.push(self.move_batch(&batch, next, None));
        }
        if changes.is_empty() {
            return Ok(steps);
        }
        let applied = self.store.apply(&changes).await?;
        Ok(steps + applied.iter().filter(|applied| applied.is_applied()).count())
    }

    /// Ends some entries of each cancelled batch; gives their number.
    pub(super) async fn end(&self) -> Result<usize, StoreError> {
        let mut ended = 0;
        for batch in self.store.batches_in(&[BatchState::Cancelling]).await? {
            if batch.count(|state| !state.is_terminal()) > 0 {
                ended += self.end_cancelled(&batch).await?;
            }
        }
        Ok(ended)
    }

    /// Ends entries of a cancelled batch: those that wait, and those under way that its
    /// cancel mode does not let go on. Gives their number.
    async fn end_cancelled(&self, batch: &BatchRow) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let waiting = self.store.waiting(&batch.tenant, &batch.id, limits::SELECT_MAX).await?;
        let cancel = |entry: &EntryRow| {
            let decided =
                self.rules.while_waiting(&batch.spec, entry, WhileWaiting::Cancelled, now);
            Some(Change::Entry(decided.ok()?))
        };
        let mut changes: Vec<_> = waiting.iter().filter_map(cancel).collect();
        if batch.count(EntryState::is_in_flight) > 0 {
            let under_way = self.store.under_way(&batch.tenant, &batch.id).await?;
            let hang_up = |(entry, call): &(EntryRow, CallRow)| {
                let goes_on = batch.cancel != Some(CancelMode::Hangup) && entry.state.is_live();
                let decided = self.rules.decide(&batch.spec, entry, call, Happening::HungUp, now);
                Some(Change::Entry(decided.ok().filter(|_| !goes_on)?))
            };
            changes.extend(under_way.iter().filter_map(hang_up));
        }
        if changes.is_empty() {
            return Ok(0);
        }
        let applied = self.store.apply(&changes).await?;
        Ok(applied.iter().filter(|applied| applied.is_applied()).count())
    }

    pub(super) fn move_batch(
        &self,
        batch: &BatchRow,
        to: BatchState,
        reason: Option<String>,
    ) -> Change {
        Change::Batch(BatchTransition {
            tenant: batch.tenant.clone(),
            batch: batch.id.clone(),
            from: batch.state,
            unmoved_since: None,
            to,
            reason,
            limits: None,
            cancel: None,
            outbox: Vec::new(),
            at: self.clock.now(),
        })
    }
}
