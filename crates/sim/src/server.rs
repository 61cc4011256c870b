use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dialtone_auth::{Capabilities, Secret};
use dialtone_batch::{
    BatchMetrics, CallError, Calls, Dispatcher, DispatcherOptions, Happening, OutboxSender,
};
use dialtone_clock::Clock;
use dialtone_contract::wire::{CallStatusRequest, EntryCompletedRequest};
use dialtone_contract::{ErrorCode, TenantId, limits};
use dialtone_store::{BatchSpec, EntryRow, StoreError};

use crate::agent::{Agent, Answer, Request};
use crate::livekit::SimLiveKit;
use crate::ready;
use crate::store::SimStore;
use crate::world::{Event, World};

/// Time after which a server looks by itself.
const POLL: Duration = Duration::from_secs(1);

/// Rounds of one tick; each does something, and entries and items are finite.
const ROUNDS_MAX: u32 = 10_000;

/// One `dialtone` process: its view of the store, its dispatcher, its API.
pub struct Server {
    id: usize,
    pub store: Arc<SimStore>,
    dispatcher: Dispatcher,
    outbox: OutboxSender,
    calls: Calls,
    sends: BTreeMap<u64, (Arc<BatchSpec>, EntryRow, Happening)>,
    next_send: u64,
}

impl Server {
    /// Starts a server; `None` if it dies while starting.
    pub fn start(
        id: usize,
        store: SimStore,
        livekit: &Arc<SimLiveKit>,
        world: &World,
        dispatcher_clock: Arc<dyn Clock>,
    ) -> Option<Self> {
        let store = Arc::new(store);
        let options = DispatcherOptions {
            api_url: "http://simulated".to_owned(),
            capabilities: Capabilities::new(&Secret::new("simulated")),
        };
        let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
        let metrics = BatchMetrics::default;
        let dispatcher =
            Dispatcher::new(store.clone(), livekit.clone(), dispatcher_clock, options, metrics());
        let dispatcher = ready(dispatcher).ok()?;
        let outbox = OutboxSender::new(store.clone(), livekit.clone(), clock.clone());
        let calls = Calls::new(store.clone(), clock, metrics());
        Some(Self { id, store, dispatcher, outbox, calls, sends: BTreeMap::new(), next_send: 0 })
    }

    /// One look for work, until there is none; gives when to look again.
    pub fn tick(&mut self, world: &World) -> Duration {
        for _ in 0..ROUNDS_MAX {
            match self.round(world) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => return POLL,
            }
        }
        match ready(self.dispatcher.next_due(world.now())) {
            Ok(Some(at)) => POLL.min(at.since(world.now())).max(Duration::from_millis(1)),
            _ => POLL,
        }
    }

    fn round(&mut self, world: &World) -> Result<bool, StoreError> {
        let mut done = ready(self.dispatcher.expire())? + ready(self.dispatcher.close())?;
        done += ready(self.outbox.tick())?;
        let free = limits::DISPATCHES_AT_ONCE.saturating_sub(self.sends.len());
        let claimed = ready(self.dispatcher.claim(u32::try_from(free).unwrap_or(0)))?;
        for (spec, entry, _) in claimed {
            done += 1;
            let happening = ready(self.dispatcher.send(&spec, &entry, Instant::now()));
            self.next_send += 1;
            self.sends.insert(self.next_send, (spec, entry, happening));
            let event = Event::Answered { server: self.id, send: self.next_send };
            world.after(world.delay(), event);
        }
        Ok(done > 0)
    }

    /// LiveKit's answer to a dispatch arrives.
    pub fn livekit_answered(&mut self, send: u64) {
        if let Some((spec, entry, happening)) = self.sends.remove(&send) {
            // A record that fails leaves the lease to its deadline.
            let _ = ready(self.dispatcher.record(&spec, &entry, happening));
        }
    }

    /// Handles an agent's request.
    pub fn handle(&self, tenant: &TenantId, agent: &Agent, request: Request) -> Answer {
        let metadata = &agent.metadata;
        let call_id = &metadata.call_id;
        let result = match request {
            Request::Claim => {
                ready(self.calls.claim(tenant, call_id, Some(agent.claimer()))).map(drop)
            }
            Request::Heartbeat => match ready(self.calls.heartbeat(tenant, call_id)) {
                Ok(answer) if !answer.go_on => Err(ErrorCode::StaleAttempt.into()),
                other => other.map(drop),
            },
            Request::Status(status) => {
                let request = CallStatusRequest { status, reason: None };
                ready(self.calls.status(tenant, call_id, &request)).map(drop)
            }
            Request::Completed(status) => {
                let request = EntryCompletedRequest {
                    call_id: call_id.clone(),
                    entry_id: metadata.entry_id.clone(),
                    attempt: metadata.attempt,
                    status,
                    duration_ms: None,
                    reason: None,
                };
                ready(self.calls.completed(tenant, &request)).map(drop)
            }
        };
        match result {
            Ok(()) => Answer::Granted,
            Err(CallError::Refused(code)) => Answer::Refused(code),
            Err(CallError::Store(_)) => Answer::TryAgain,
        }
    }
}
