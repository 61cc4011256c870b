use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use dialtone_contract::{DispatchMetadata, TenantId};
use dialtone_livekit::{LiveKit, LiveKitError, NewDispatch};
use dialtone_store::Store;

use crate::faults::Fault;
use crate::task::ready;
use crate::world::{Event, World};

/// A LiveKit that promises what the real one does: nothing.
pub struct SimLiveKit {
    world: World,
    dispatches: AtomicU64,
    closed: Mutex<BTreeSet<String>>,
    /// What was asked for too early.
    early: Mutex<Vec<String>>,
    engine: Arc<dyn Store>,
    tenant: TenantId,
}

impl SimLiveKit {
    pub fn new(world: World, engine: Arc<dyn Store>, tenant: TenantId) -> Self {
        let (closed, early) = (Mutex::default(), Mutex::default());
        Self { world, dispatches: AtomicU64::new(0), closed, early, engine, tenant }
    }

    /// Dispatches that were sent before their leases were committed.
    pub fn sent_early(&self) -> Vec<String> {
        std::mem::take(&mut *self.early.lock().expect("no holder of the lock panics"))
    }

    /// Holds a dispatch against the rows at the moment at which it is sent.
    fn watch(&self, new: &NewDispatch) {
        let metadata = serde_json::from_str::<DispatchMetadata>(&new.metadata);
        let parts = metadata.ok().and_then(|metadata| metadata.call_id.parts().ok());
        let Some((key, attempt)) = parts else { return };
        self.world.note(|| format!("{} is sent", new.room));
        let page = ready(self.engine.entries(&self.tenant, &key.batch, key.seq - 1, 1));
        let entry = page.ok().and_then(|page| page.into_iter().next()).map(|(entry, _)| entry);
        if entry.is_none_or(|entry| entry.attempt < attempt) {
            let text = format!("{} was sent, and is not leased", new.room);
            self.world.note(|| format!("WRONG: {text}"));
            self.early.lock().expect("no holder of the lock panics").push(text);
        }
    }

    fn closed(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.closed.lock().expect("no holder of the lock panics")
    }

    /// Whether the room was closed at some time.
    pub fn has_closed(&self, room: &str) -> bool {
        self.closed().contains(room)
    }

    fn deliver(&self, new: &NewDispatch) {
        if self.world.strikes(Fault::DispatchLost) {
            return;
        }
        let twice = self.world.strikes(Fault::DispatchDoubled);
        for _ in 0..=usize::from(twice) {
            let delay = self.world.delay();
            self.world.after(delay, Event::Job { metadata: new.metadata.clone() });
        }
    }

    /// Whether the answer to what was asked gets lost, on top of the time that it takes.
    async fn answer(&self, lost: Fault) -> Result<(), LiveKitError> {
        self.world.sleep(self.world.delay()).await;
        if self.world.strikes(lost) {
            return Err(LiveKitError::Unknown("simulated".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl LiveKit for SimLiveKit {
    async fn dispatch(&self, new: &NewDispatch) -> Result<String, LiveKitError> {
        self.watch(new);
        if self.world.strikes(Fault::DispatchNotSent) {
            return Err(LiveKitError::NotSent("simulated".to_owned()));
        }
        self.world.sleep(self.world.delay()).await;
        if self.world.strikes(Fault::DispatchRefused) {
            return Err(LiveKitError::Refused("simulated".to_owned()));
        }
        self.deliver(new);
        self.answer(Fault::DispatchUnknown).await?;
        Ok(format!("AD_{}", self.dispatches.fetch_add(1, Ordering::Relaxed)))
    }

    async fn delete_dispatch(&self, _room: &str, _dispatch_id: &str) -> Result<(), LiveKitError> {
        // As the open-source server does: a job that was offered goes on.
        self.world.sleep(self.world.delay()).await;
        self.answer(Fault::RoomNotClosed).await
    }

    async fn delete_room(&self, room: &str) -> Result<(), LiveKitError> {
        self.world.sleep(self.world.delay()).await;
        if self.world.strikes(Fault::RoomNotClosed) {
            return Err(LiveKitError::Unknown("simulated".to_owned()));
        }
        self.closed().insert(room.to_owned());
        let delay = self.world.delay();
        self.world.after(delay, Event::RoomClosed { room: room.to_owned() });
        self.answer(Fault::RoomNotClosed).await
    }
}
