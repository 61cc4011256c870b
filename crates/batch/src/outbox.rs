use std::sync::Arc;
use std::time::Duration;

use dialtone_clock::Clock;
use dialtone_contract::limits;
use dialtone_livekit::LiveKit;
use dialtone_store::{Lane, OutboxItem, OutboxRow, Store, StoreError};
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

/// Items handed out at once.
const BATCH: u32 = 64;

/// Items sent at once: closing rooms must never crowd out dispatches.
const AT_ONCE: usize = 8;

/// Wall time after which an item that was not confirmed is sent again.
const AGAIN: Duration = Duration::from_secs(15);

/// Wall time after which the sender looks by itself.
const POLL: Duration = Duration::from_secs(1);

/// Sends what has to leave the platform, at least once.
pub struct OutboxSender {
    store: Arc<dyn Store>,
    livekit: Arc<dyn LiveKit>,
    clock: Arc<dyn Clock>,
}

impl OutboxSender {
    /// A sender over `store`; any number may run.
    pub fn new(store: Arc<dyn Store>, livekit: Arc<dyn LiveKit>, clock: Arc<dyn Clock>) -> Self {
        Self { store, livekit, clock }
    }

    /// Sends until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut changes = self.store.changes();
        while !shutdown.is_cancelled() {
            changes.mark_unchanged();
            let ticked = tokio::select! {
                // What is under way then is sent again by the next sender.
                () = shutdown.cancelled() => return,
                ticked = self.tick() => ticked,
            };
            match ticked {
                Ok(n) if n > 0 => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "outbox tick failed, trying again"),
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                _ = changes.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Sends what is due; gives the number of items that are done with.
    ///
    /// # Errors
    /// If the store fails; the items are sent again.
    pub async fn tick(&self) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let again_at = now + self.clock.scale().product(AGAIN);
        let due = self.store.due_outbox(Lane::LiveKit, now, again_at, BATCH).await?;
        // Owned rows: a borrowed one would make this future refuse to be spawned.
        let sends =
            due.into_iter().map(|row| async move { self.send(&row).await.then_some(row.id) });
        let sent = futures_util::stream::iter(sends).buffer_unordered(AT_ONCE);
        let done: Vec<i64> = sent.filter_map(std::future::ready).collect().await;
        if !done.is_empty() {
            self.store.outbox_done(&done).await?;
        }
        Ok(done.len())
    }

    async fn send(&self, row: &OutboxRow) -> bool {
        let (room, sent) = match &row.item {
            OutboxItem::DeleteRoom { room } => (room, self.livekit.delete_room(room).await),
            OutboxItem::DeleteDispatch { room, dispatch_id } => {
                (room, self.livekit.delete_dispatch(room, dispatch_id).await)
            }
            // Never in this lane; whoever sends that one has it.
            OutboxItem::Webhook { .. } => return false,
        };
        match sent {
            Ok(()) => true,
            Err(error) if row.tries >= limits::OUTBOX_TRIES_MAX => {
                tracing::error!(%error, room, tries = row.tries, "LiveKit was not told, given up");
                true
            }
            Err(error) => {
                tracing::debug!(%error, room, tries = row.tries, "LiveKit was not told yet");
                false
            }
        }
    }
}
