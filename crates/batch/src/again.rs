//! Calling a batch's failed entries again: in a batch of their own, because an entry that
//! has ended never moves again.

use dialtone_contract::{BatchId, EntryState, Outcome, TenantId, limits};
use dialtone_store::{
    Accepted, BatchRow, BatchSpec, EntryRow, Idempotency, NewBatch, NewEntry, StoreError,
};
use uuid::Uuid;

use crate::{ControlError, Intake, Triggered};

/// No key of a client begins like this: theirs are visible characters.
const KEY: &str = "\u{1}retry/";

/// Whether an entry is called again by a retry. A suppressed one would be suppressed again.
fn is_again(entry: &EntryRow) -> bool {
    entry.state == EntryState::Failed && entry.outcome != Some(Outcome::Suppressed)
}

impl Intake {
    /// Makes the batch that calls the failed entries of an ended one again, with its
    /// options. Asked again, gives the same batch. Must run to its end: a caller that can be
    /// cancelled puts it into a task.
    ///
    /// # Errors
    /// If there is no such batch, it has not ended, nothing failed, or the store fails.
    pub async fn retry(
        &self,
        tenant: &TenantId,
        parent: &BatchId,
    ) -> Result<Triggered, ControlError> {
        let row = self.store.batch(tenant, parent).await?.ok_or(ControlError::NotFound)?;
        if !row.state.is_terminal() {
            return Err(ControlError::Conflict { what: "batch", state: row.state.as_str() });
        }
        let key = format!("{KEY}{parent}");
        if let Some((batch, _)) = self.store.accepted_under(tenant, &key).await? {
            return Ok(Triggered { batch, replayed: true });
        }
        let failed = row.counters.iter().filter(|((state, outcome), _)| {
            *state == EntryState::Failed && *outcome != Some(Outcome::Suppressed)
        });
        let total = failed.map(|(_, n)| n).sum();
        if total == 0 {
            return Err(ControlError::NothingToRetry);
        }
        let batch = BatchId::from_token(&Uuid::now_v7().simple().to_string());
        let made = self.load_again(&row, &batch, total, key).await;
        if !matches!(&made, Ok(triggered) if triggered.batch == batch) {
            // What cannot be removed now is removed when the server starts again.
            if let Err(error) = self.store.discard_batch(tenant, &batch).await {
                tracing::warn!(%error, batch.id = %batch, "an unfinished batch was not removed");
            }
        }
        Ok(made?)
    }

    async fn load_again(
        &self,
        parent: &BatchRow,
        batch: &BatchId,
        total: u32,
        key: String,
    ) -> Result<Triggered, StoreError> {
        let tenant = &parent.tenant;
        let spec = BatchSpec { total, retry_of: Some(parent.id.clone()), ..(*parent.spec).clone() };
        let created_at = self.clock.now();
        let new = NewBatch { tenant: tenant.clone(), id: batch.clone(), spec, created_at };
        self.store.create_batch(new).await?;
        let (mut after, mut seq) = (0, 0);
        loop {
            let page = self.store.entries(tenant, &parent.id, after, limits::PAGE_MAX).await?;
            let Some((last, _)) = page.last() else { break };
            after = last.key.seq;
            let mut again = Vec::new();
            for (entry, _) in page.into_iter().filter(|(entry, _)| is_again(entry)) {
                seq += 1;
                again.push(NewEntry {
                    seq,
                    to: entry.to,
                    number: entry.number,
                    timezone: entry.timezone,
                    variables: entry.variables,
                    planned: entry.planned,
                    not_before: created_at,
                });
            }
            self.store.add_entries(tenant, batch, &again).await?;
        }
        let idempotency = Idempotency { key, request_hash: parent.id.to_string() };
        let now = self.clock.now();
        Ok(match self.store.accept_batch(tenant, batch, now, Some(idempotency)).await? {
            Accepted::Accepted => Triggered { batch: batch.clone(), replayed: false },
            Accepted::Replayed { batch, .. } => Triggered { batch, replayed: true },
        })
    }
}
