use std::sync::Arc;
use std::time::Duration;

use dialtone_auth::{Capabilities, NumberKeys, Secret};
use dialtone_batch::{
    BatchMetrics, CallError, Calls, Claims, Control, Dispatcher, DispatcherOptions, Happening,
    Intake, OutboxSender, Reporter,
};
use dialtone_clock::Clock;
use dialtone_contract::wire::{CallStatusRequest, EntryCompletedRequest, HeartbeatRequest};
use dialtone_contract::{BatchState, DispatchMetadata, ErrorCode, TenantId, limits};
use dialtone_store::{BatchStore as _, Store, StoreError};
use tokio::sync::{Notify, Semaphore, watch};

use crate::Mutant;
use crate::agent::{Answer, Request};
use crate::faults::Fault;
use crate::livekit::SimLiveKit;
use crate::store::SimStore;
use crate::task::{Owner, either};
use crate::world::World;

/// Time after which a server looks by itself. Longer than in production: most looks find
/// nothing, and one that is needed because no hint came is the more noticed.
const POLL: Duration = Duration::from_secs(3);

/// Time for dispatches under way to end when a server stops in order.
const DRAIN: Duration = Duration::from_secs(10);

/// One life of one `dialtone` process: its views of the store, its API, and what its
/// loops share.
pub struct Server {
    pub owner: Owner,
    pub store: Arc<SimStore>,
    pub intake: Arc<Intake>,
    pub control: Arc<Control>,
    calls: Arc<Calls>,
    claims: Arc<Calls>,
    world: World,
    tenant: TenantId,
    mutant: Option<Mutant>,
    /// Whether it takes requests.
    serving: watch::Sender<bool>,
    /// Whether it has been told to stop.
    stopping: watch::Sender<bool>,
}

impl Server {
    /// A server that is about to start.
    pub fn new(
        owner: Owner,
        store: SimStore,
        world: &World,
        tenant: &TenantId,
        mutant: Option<Mutant>,
    ) -> Arc<Self> {
        let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
        let claims: Arc<dyn Store> = Arc::new(store.for_claims());
        let store = Arc::new(store);
        let intake = Arc::new(Intake::new(
            store.clone(),
            clock.clone(),
            NumberKeys::new(&Secret::new("simulated")),
        ));
        let control = Arc::new(Control::new(store.clone(), clock.clone()));
        let calls = Arc::new(Calls::new(store.clone(), clock.clone(), BatchMetrics::default()));
        let claims = Arc::new(Calls::new(claims, clock, BatchMetrics::default()));
        let (world, tenant) = (world.clone(), tenant.clone());
        let (serving, stopping) = (watch::Sender::new(false), watch::Sender::new(false));
        Arc::new(Self {
            owner,
            store,
            intake,
            control,
            calls,
            claims,
            world,
            tenant,
            mutant,
            serving,
            stopping,
        })
    }

    pub fn is_serving(&self) -> bool {
        *self.serving.borrow() && !self.store.is_dead()
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Tells the server to stop in order.
    fn stop(&self) {
        self.world.note(|| format!("server {} stops", self.owner.server));
        self.serving.send_replace(false);
        self.stopping.send_replace(true);
    }

    /// Starts the process: an alone one tidies up first, as production's embedded one does.
    pub fn start(self: &Arc<Self>, livekit: &Arc<SimLiveKit>, clock: Arc<dyn Clock>, alone: bool) {
        let (this, livekit) = (Arc::clone(self), Arc::clone(livekit));
        self.world.spawn(self.owner, async move {
            if Arc::clone(&this).boot(livekit, clock, alone).await.is_err() {
                // Production's process ends here, and whoever started it does so again.
                this.store.kill();
            }
        });
    }

    async fn boot(
        self: Arc<Self>,
        livekit: Arc<SimLiveKit>,
        clock: Arc<dyn Clock>,
        alone: bool,
    ) -> Result<(), StoreError> {
        let options = DispatcherOptions {
            api_url: "http://simulated".to_owned(),
            capabilities: Capabilities::new(&Secret::new("simulated")),
        };
        let (store, metrics) = (Arc::clone(&self.store), BatchMetrics::default());
        let dispatcher = Dispatcher::new(store, livekit.clone(), clock, options, metrics).await?;
        if alone {
            dispatcher.discard_unfinished_loads(Duration::ZERO).await?;
        }
        self.serving.send_replace(true);
        let clock = Arc::new(self.world.clock.clone());
        let outbox = OutboxSender::new(self.store.clone(), livekit, clock.clone());
        let (owner, this) = (self.owner, Arc::clone(&self));
        self.world.spawn(owner, async move { this.send_outbox(outbox).await });
        let dispatching = Dispatching {
            server: Arc::clone(&self),
            mutant: self.mutant,
            dispatcher,
            reporter: Reporter::new(self.store.clone(), clock),
            permits: Arc::new(Semaphore::new(limits::DISPATCHES_AT_ONCE)),
            freed: Notify::new(),
        };
        self.world.spawn(owner, Arc::new(dispatching).run());
        Ok(())
    }

    async fn told_to_stop(&self) {
        // The sender lives in this server.
        let _ = self.stopping.subscribe().wait_for(|stop| *stop).await;
    }

    /// Production's loop of the outbox, which needs a runtime for its timer.
    async fn send_outbox(self: Arc<Self>, outbox: OutboxSender) {
        let mut changes = dialtone_store::BatchStore::changes(&*self.store);
        let work = async {
            loop {
                changes.mark_unchanged();
                if outbox.tick().await.is_ok_and(|n| n > 0) {
                    continue;
                }
                either(changed(&mut changes), self.world.sleep(POLL)).await;
            }
        };
        either(self.told_to_stop(), work).await;
    }

    /// Handles an agent's request.
    pub async fn handle(
        &self,
        metadata: &DispatchMetadata,
        claimer: String,
        request: Request,
    ) -> Answer {
        let (tenant, call_id) = (&self.tenant, &metadata.call_id);
        let result = match request {
            Request::Claim => self.claims.claim(tenant, call_id, Some(claimer)).await.map(|_| true),
            Request::Heartbeat(state, sent) => {
                let seq = u64::try_from(sent.as_micros()).unwrap_or(0);
                self.heartbeat(metadata, HeartbeatRequest { seq, state }).await.map(|()| true)
            }
            Request::Status(status) => {
                let request = CallStatusRequest { status, reason: None };
                self.calls.status(tenant, call_id, &request).await.map(|answer| answer.applied)
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
                self.calls.completed(tenant, &request).await.map(|answer| answer.applied)
            }
        };
        match result {
            Ok(applied) => Answer::Granted { applied },
            Err(CallError::Refused(code)) => Answer::Refused(code),
            Err(CallError::Store(_)) => Answer::TryAgain,
        }
    }

    async fn heartbeat(
        &self,
        metadata: &DispatchMetadata,
        request: HeartbeatRequest,
    ) -> Result<(), CallError> {
        let answer = self.calls.heartbeat(&self.tenant, &metadata.call_id, &request).await?;
        if answer.go_on { Ok(()) } else { Err(ErrorCode::StaleAttempt.into()) }
    }
}

/// A change has been committed, by whomever.
async fn changed(changes: &mut watch::Receiver<u64>) {
    // The engine outlives the servers.
    let _ = changes.changed().await;
}

/// A dispatcher at work: production's loop over its public steps. That loop itself
/// spawns on the runtime and waits for the runtime's timer, whose order no seed decides.
/// One thing differs: the end of the circuit breaker's pause wakes nobody here, so that
/// the next look after it is the poll's.
struct Dispatching {
    server: Arc<Server>,
    mutant: Option<Mutant>,
    dispatcher: Dispatcher,
    reporter: Reporter,
    permits: Arc<Semaphore>,
    freed: Notify,
}

impl Dispatching {
    async fn run(self: Arc<Self>) {
        let world = &self.server.world;
        let mut changes = dialtone_store::BatchStore::changes(&*self.server.store);
        while !self.server.is_stopping() {
            changes.mark_unchanged();
            let since = world.now();
            let wait = match self.tick().await {
                Ok(true) => continue,
                Ok(false) => match self.dispatcher.next_due(since).await {
                    Ok(Some(at)) => (at.since(world.now()) + Duration::from_millis(1)).min(POLL),
                    _ => POLL,
                },
                Err(_) => POLL,
            };
            let work = either(changed(&mut changes), self.freed.notified());
            either(self.server.told_to_stop(), either(work, world.sleep(wait))).await;
        }
        let all = u32::try_from(limits::DISPATCHES_AT_ONCE).expect("a small number");
        let ended = async { drop(self.permits.acquire_many(all).await) };
        either(ended, world.sleep(DRAIN)).await;
        world.note(|| format!("server {} has stopped", self.server.owner.server));
        self.server.store.kill();
    }

    /// What a mutant does: it sends for what it is going to lease.
    async fn send_first(&self) -> Result<(), StoreError> {
        let Server { store, tenant, world, .. } = &*self.server;
        for batch in store.batches_in(&[BatchState::Accepted, BatchState::Running]).await? {
            for mut entry in store.waiting(tenant, &batch.id, 4).await? {
                if entry.not_before.is_some_and(|at| at <= world.now()) {
                    entry.attempt += 1;
                    self.dispatcher.send(&batch.spec, &entry, std::time::Instant::now()).await;
                }
            }
        }
        Ok(())
    }

    async fn tick(self: &Arc<Self>) -> Result<bool, StoreError> {
        let mut done = self.dispatcher.expire().await? + self.dispatcher.close().await?;
        done += self.reporter.tick().await?;
        if self.mutant == Some(Mutant::DispatchFirst) {
            self.send_first().await?;
        }
        let free = u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX);
        let Claims { leased, moved } = self.dispatcher.claim(free).await?;
        done += moved;
        // The worst moment to be told to stop: nothing of what was leased has left yet.
        if !leased.is_empty() && self.server.world.strikes(Fault::Drain) {
            self.server.stop();
        }
        for (spec, entry, since) in leased {
            done += 1;
            let permit = Arc::clone(&self.permits).try_acquire_owned().ok();
            let this = Arc::clone(self);
            self.server.world.spawn(self.server.owner, async move {
                // The runtime gets to a new task when it gets to it.
                this.server.world.step().await;
                let permit = match permit {
                    Some(permit) => Ok(permit),
                    None => Arc::clone(&this.permits).acquire_owned().await,
                };
                let happening = if this.server.is_stopping() {
                    Happening::LeaseReturned
                } else {
                    this.dispatcher.send(&spec, &entry, since).await
                };
                // A record that fails leaves the lease to its deadline.
                let _ = this.dispatcher.record(&spec, &entry, happening).await;
                drop(permit);
                this.freed.notify_one();
            });
        }
        Ok(done > 0)
    }
}
