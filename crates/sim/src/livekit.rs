use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use dialtone_livekit::{LiveKit, LiveKitError, NewDispatch};

use crate::world::{Event, World};

/// A LiveKit that promises what the real one does: nothing.
pub struct SimLiveKit {
    world: World,
    dispatches: AtomicU64,
}

impl SimLiveKit {
    pub fn new(world: World) -> Self {
        Self { world, dispatches: AtomicU64::new(0) }
    }

    fn deliver(&self, new: &NewDispatch) {
        if self.world.strikes(|faults| faults.dispatch_lost) {
            return;
        }
        let twice = self.world.strikes(|faults| faults.dispatch_doubled);
        for _ in 0..=usize::from(twice) {
            let delay = self.world.delay();
            self.world.after(delay, Event::Job { metadata: new.metadata.clone() });
        }
    }
}

#[async_trait]
impl LiveKit for SimLiveKit {
    async fn dispatch(&self, new: &NewDispatch) -> Result<String, LiveKitError> {
        if self.world.strikes(|faults| faults.dispatch_refused) {
            return Err(LiveKitError::Refused("simulated".to_owned()));
        }
        self.deliver(new);
        if self.world.strikes(|faults| faults.dispatch_unknown) {
            return Err(LiveKitError::Unknown("simulated".to_owned()));
        }
        Ok(format!("AD_{}", self.dispatches.fetch_add(1, Ordering::Relaxed)))
    }

    async fn delete_room(&self, room: &str) -> Result<(), LiveKitError> {
        let delay = self.world.delay();
        self.world.after(delay, Event::RoomClosed { room: room.to_owned() });
        Ok(())
    }
}
