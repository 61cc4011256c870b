//! The breaker of each batch: pauses it when its latest attempts come to nothing, and
//! resumes it where its options say so.

use std::time::Duration;

use dialtone_clock::Timestamp;
use dialtone_contract::{BatchState, limits};
use dialtone_store::{BatchRow, Change, StoreError};

use super::Dispatcher;
use crate::policy::breaker::{Ended, PAUSED_BY_BREAKER, resumes_at};

/// Wall time between two readings of what has ended: a breaker looks at minutes.
const EVERY: Duration = Duration::from_millis(200);

impl Dispatcher {
    /// Pauses a running batch whose breaker trips, and resumes one that it has paused for
    /// long enough; gives the number of steps taken.
    pub(super) async fn judge(&self, batch: &BatchRow) -> Result<usize, StoreError> {
        let Some(rule) = batch.spec.options.breaker.as_ref().filter(|rule| rule.enabled) else {
            return Ok(0);
        };
        let now = self.clock.now();
        let Some(mut ended) = self.look_back(batch, now).await? else { return Ok(0) };
        let tripped = ended.trip(&batch.id, rule, now);
        let paused_at = match batch.state {
            BatchState::Paused => ended.paused_at(now),
            _ => now,
        };
        self.memory().remember(&batch.id, ended, now);
        let reason = batch.reason.as_deref().unwrap_or_default();
        let (to, reason) = match (batch.state, tripped) {
            (BatchState::Running, Some(trip)) => (BatchState::Paused, Some(trip.to_string())),
            (BatchState::Paused, _) if reason.starts_with(PAUSED_BY_BREAKER) => {
                match resumes_at(rule, paused_at) {
                    Some(at) if at <= now => (BatchState::Running, None),
                    at => {
                        self.memory().resumes_at(at);
                        return Ok(0);
                    }
                }
            }
            _ => return Ok(0),
        };
        if let Some(reason) = &reason {
            tracing::warn!(batch.id = %batch.id, reason, "the batch pauses");
        }
        let mut change = self.move_batch(batch, to, reason);
        if let Change::Batch(change) = &mut change {
            // What a user orders meanwhile is not undone, not even in two orders.
            change.unmoved_since = Some(batch.event_seq);
        }
        let applied = self.store.apply(&[change]).await?;
        Ok(applied.iter().filter(|applied| applied.is_applied()).count())
    }

    /// What has ended of late, up to the batch as it was read; `None` if that was looked at
    /// only just now.
    async fn look_back(
        &self,
        batch: &BatchRow,
        now: Timestamp,
    ) -> Result<Option<Ended>, StoreError> {
        let known = self.memory().recall(&batch.id);
        let first = batch.event_seq.saturating_sub(limits::BREAKER_EVENTS);
        let (mut ended, read_at) = known.unwrap_or_else(|| (Ended::since(first), None));
        let again = read_at.map(|at| at + self.rules.scale().product(EVERY));
        if ended.event_seq() < batch.event_seq && again.is_some_and(|again| now < again) {
            let mut memory = self.memory();
            memory.remember(&batch.id, ended, read_at.unwrap_or(now));
            return Ok(None);
        }
        while ended.event_seq() < batch.event_seq {
            let after = ended.event_seq();
            let page = self.store.events(&batch.tenant, &batch.id, after, limits::PAGE_MAX).await?;
            if page.is_empty() {
                break;
            }
            page.iter().for_each(|event| ended.take(event));
        }
        Ok(Some(ended))
    }
}
