//! Ends what is overdue.

use dialtone_contract::limits;
use dialtone_store::{Change, StoreError};

use super::Dispatcher;
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
        let mut changes = Vec::with_capacity(due.len());
        for (entry, call) in &due {
            let spec = self.specs.of(entry).await?;
            let decided = self.rules.decide(&spec, entry, call, Happening::DeadlinePassed, now);
            changes.extend(decided.ok().map(Change::Entry));
        }
        let applied = self.store.apply(&changes).await?;
        let ended = applied.iter().filter(|applied| applied.is_applied()).count();
        self.metrics.expired(ended as u64);
        Ok(ended)
    }
}
