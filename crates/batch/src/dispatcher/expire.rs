//! Ends what is overdue.

use std::collections::HashMap;

use dialtone_contract::{BatchId, limits};
use dialtone_store::{BatchSpec, CallRow, Change, EntryRow, StoreError};

use super::{ACTIVE, Dispatcher};
use crate::Happening;

impl Dispatcher {
    /// Ends every attempt whose deadline has come; gives their number.
    ///
    /// # Errors
    /// If the store fails; what was not applied is found again.
    pub async fn expire(&self) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let due = self.store.due_deadlines(now, limits::SELECT_MAX).await?;
        if due.is_empty() {
            return Ok(0);
        }
        let specs = self.specs().await?;
        let decide = |(entry, call): &(EntryRow, CallRow)| {
            let spec = specs.get(&entry.key.batch)?;
            let decided = self.rules.decide(spec, entry, call, Happening::DeadlinePassed, now);
            Some(Change::Entry(decided.ok()?))
        };
        let changes: Vec<_> = due.iter().filter_map(decide).collect();
        let applied = self.store.apply(&changes).await?;
        let ended = applied.iter().filter(|applied| applied.is_applied()).count();
        self.metrics.expired(ended as u64);
        Ok(ended)
    }

    async fn specs(&self) -> Result<HashMap<BatchId, BatchSpec>, StoreError> {
        let active = self.store.batches_in(ACTIVE).await?;
        Ok(active.into_iter().map(|row| (row.id, row.spec)).collect())
    }
}
