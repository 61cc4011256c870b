//! The dispatcher's loop: look, work, wait for a reason to look again.

use std::sync::Arc;
use std::time::Duration;

use dialtone_clock::Timestamp;
use dialtone_store::{EntryRow, StoreError};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{CLAIMABLE, Claims, Dispatcher, Leased};
use crate::Happening;

/// Wall time after which the dispatcher looks by itself, wake-up or not.
const POLL: Duration = Duration::from_secs(1);

/// Wall time for dispatches under way to end when the dispatcher stops: many times what a
/// LiveKit that works needs. The leases of others run out by themselves.
const DRAIN: Duration = Duration::from_secs(2);

impl Dispatcher {
    /// Works until `shutdown`, then lets the dispatches under way end.
    pub async fn run(self, shutdown: CancellationToken) {
        let this = Arc::new(self);
        let tasks = TaskTracker::new();
        tokio::join!(this.work(&tasks, &shutdown), this.end_cancelled_batches(&shutdown));
        tasks.close();
        if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
            tracing::warn!(left = tasks.len(), "dispatches were still under way at the end");
        }
    }

    async fn work(self: &Arc<Self>, tasks: &TaskTracker, shutdown: &CancellationToken) {
        let mut changes = self.store.changes();
        while !shutdown.is_cancelled() {
            // Interest first, then the look: a change in between wakes the wait below.
            changes.mark_unchanged();
            let since = self.clock.now();
            let ticked = self.tick(tasks, shutdown).await;
            self.note_store(ticked.as_ref().err());
            let wait = match ticked {
                Ok(true) => continue,
                Ok(false) => self.until_next(since).await,
                Err(_) => POLL,
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                _ = changes.changed() => {}
                () = self.freed.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Ends the entries of cancelled batches, slice by slice and beside the loop: hundreds of
    /// thousands of them hold up no claim, and wait for none.
    async fn end_cancelled_batches(&self, shutdown: &CancellationToken) {
        let mut changes = self.store.changes();
        while !shutdown.is_cancelled() {
            changes.mark_unchanged();
            // The loop says so if the store fails.
            if self.end().await.is_ok_and(|ended| ended > 0) {
                continue;
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                _ = changes.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Tells whoever watches whether the store works; logs when that changes.
    fn note_store(&self, error: Option<&StoreError>) {
        let text = error.map(ToString::to_string);
        let changed = self.trouble.send_if_modified(|trouble| {
            let changed = trouble.store.is_some() != text.is_some();
            trouble.store.clone_from(&text);
            changed
        });
        match (changed, text) {
            (true, Some(error)) => tracing::warn!(error, "the store fails; trying again"),
            (true, None) => tracing::info!("the store works again"),
            (false, _) => {}
        }
    }

    async fn tick(
        self: &Arc<Self>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Result<bool, StoreError> {
        let expired = self.expire().await?;
        let closed = self.advance().await?;
        let Claims { leased, moved } = match self.flow.room() {
            0 => Claims::default(),
            room => self.claim(room).await?,
        };
        let claimed = leased.len();
        self.flow.began(claimed);
        for leased in leased {
            // What finds no permit free queues.
            let permit = Arc::clone(&self.permits).try_acquire_owned().ok();
            let this = Arc::clone(self);
            tasks.spawn(this.carry_out(leased, permit, shutdown.clone()));
        }
        Ok(expired + closed + claimed + moved > 0)
    }

    async fn carry_out(
        self: Arc<Self>,
        (spec, entry, since): Leased,
        permit: Option<OwnedSemaphorePermit>,
        shutdown: CancellationToken,
    ) {
        let permit = match permit {
            Some(permit) => Some(permit),
            None => self.turn_of(&entry).await,
        };
        let happening = if shutdown.is_cancelled() || permit.is_none() {
            Happening::LeaseReturned
        } else {
            self.send(&spec, &entry, since).await
        };
        // LiveKit is done with it; the commit must not hold the next one up.
        drop(permit);
        let recorded = self.record(&spec, &entry, happening).await;
        if self.flow.ended() {
            self.freed.notify_one();
        }
        if let Err(error) = recorded {
            // The lease's deadline picks the entry up.
            tracing::warn!(%error, entry.id = %entry.key.entry_id(), "dispatch not recorded");
        }
    }

    /// The turn of an entry that found no permit free, or `None` if its lease had better be
    /// given back: LiveKit has become slow, or takes nothing any more.
    async fn turn_of(&self, entry: &EntryRow) -> Option<OwnedSemaphorePermit> {
        let left = entry.deadline.map_or(Duration::ZERO, |at| at.since(self.clock.now()));
        let patience = self.rules.scale().story(left) / 2;
        let turn = Arc::clone(&self.permits).acquire_owned();
        let permit = tokio::time::timeout(patience, turn).await.ok()?.ok()?;
        self.breaker.open_until().is_none().then_some(permit)
    }

    /// Wall time until something falls due that the look begun at `since` cannot have seen.
    async fn until_next(&self, since: Timestamp) -> Duration {
        let due = self.next_due(since).await.ok().flatten();
        let breaker = self.breaker.open_until().filter(|at| *at > since);
        let next = due.into_iter().chain(breaker).min();
        let Some(at) = next else { return POLL };
        // The millisecond covers the rounding of timer and clock.
        let wall = self.rules.scale().story(at.since(self.clock.now()));
        (wall + Duration::from_millis(1)).min(POLL)
    }

    /// When something falls due after `now`, or a batch may go on that its options held
    /// up when it was looked at last; `None` if nothing waits for time.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let due = self.store.next_due(now, CLAIMABLE).await?;
        Ok(due.into_iter().chain(self.memory().next(now)).min())
    }
}
