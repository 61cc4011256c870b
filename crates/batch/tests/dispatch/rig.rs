//! A dispatcher over the memory engine, on a clock that only moves when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dialtone_auth::{Capabilities, NumberKey, NumberKeys, Phone, Secret};
use dialtone_batch::{
    BatchMetrics, Calls, Claims, Control, Dispatcher, DispatcherOptions, Happening, Housekeeping,
    Look, Reporter, entry_detail, policy,
};
use dialtone_clock::{Clock, TimeScale, Timestamp};
use dialtone_contract::wire::{BatchOptions, Durations, EntryCompletedRequest, OutcomeMode};
use dialtone_contract::{
    BatchId, EntryKey, EntryState, Outcome, OutcomeWeights, ScriptedFaults, TenantId,
};
use dialtone_livekit::{LiveKit, LiveKitError, NewDispatch};
use dialtone_store::memory::MemoryStore;
use dialtone_store::{
    BatchMode, BatchRow, BatchSpec, BatchStore as _, EntryRow, NewBatch, NewEntry,
};

/// A Friday morning.
pub const START: &str = "2027-01-15T08:00:00Z";

pub fn at(text: &str) -> Timestamp {
    let at: Timestamp = serde_json::from_value(text.into()).expect(text);
    at
}

pub fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn scale(&self) -> TimeScale {
        TimeScale::REAL
    }
}

/// Takes every dispatch, unless it is down.
#[derive(Default)]
pub struct Willing {
    down: AtomicBool,
}

impl Willing {
    /// From now on nobody reaches it, or everybody.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }
}

#[async_trait]
impl LiveKit for Willing {
    async fn dispatch(&self, new: &NewDispatch) -> Result<String, LiveKitError> {
        if self.down.load(Ordering::Relaxed) {
            return Err(LiveKitError::NotSent("connection refused".to_owned()));
        }
        Ok(format!("AD_{}", new.room))
    }

    async fn delete_dispatch(&self, _: &str, _: &str) -> Result<(), LiveKitError> {
        Ok(())
    }

    async fn delete_room(&self, _: &str) -> Result<(), LiveKitError> {
        Ok(())
    }
}

/// A call that a dispatcher began.
#[derive(Clone, Debug)]
pub struct Begun {
    pub at: Timestamp,
    pub entry: EntryRow,
}

pub struct Rig {
    clock: Arc<HandClock>,
    pub store: Arc<MemoryStore>,
    pub livekit: Arc<Willing>,
    dispatcher: Dispatcher,
    reporter: Reporter,
    calls: Calls,
    numbers: NumberKeys,
    /// Everything that was begun, in order.
    pub begun: Vec<Begun>,
    /// Calls that go on, with when they end and how.
    going_on: Vec<(Timestamp, EntryRow)>,
    /// How long each call lasts, and what comes of it.
    pub lasts: Duration,
    pub ends: fn(&EntryRow) -> Option<Outcome>,
    /// Times that the dispatcher looked for work.
    pub looks: u32,
}

impl Rig {
    pub async fn new() -> Self {
        let clock = Arc::new(HandClock(AtomicI64::new(at(START).as_micros())));
        let store = Arc::new(MemoryStore::new());
        let secret = Secret::new("a secret of the rig");
        let options = DispatcherOptions {
            api_url: "http://rig".to_owned(),
            capabilities: Capabilities::new(&secret),
        };
        let metrics = BatchMetrics::default();
        let calls = Calls::new(store.clone(), clock.clone(), metrics.clone());
        let livekit = Arc::new(Willing::default());
        let dispatcher =
            Dispatcher::new(store.clone(), livekit.clone(), clock.clone(), options, metrics);
        let dispatcher = dispatcher.await.expect("the memory engine does not fail");
        let reporter = Reporter::new(store.clone(), clock.clone());
        Self {
            clock,
            store,
            livekit,
            dispatcher,
            reporter,
            calls,
            numbers: NumberKeys::new(&secret),
            begun: Vec::new(),
            going_on: Vec::new(),
            lasts: s(10),
            ends: |_| Some(Outcome::Completed),
            looks: 0,
        }
    }

    /// What users give orders to.
    pub fn control(&self) -> Control {
        Control::new(self.store.clone(), self.clock.clone())
    }

    /// What forgets.
    pub fn housekeeping(&self) -> Housekeeping {
        Housekeeping::new(self.store.clone(), self.clock.clone())
    }

    /// What holds the entry, and why.
    pub async fn held(&self, tenant: &str, id: &BatchId, seq: u32) -> Vec<(String, String)> {
        let key = EntryKey { batch: id.clone(), seq };
        let look = Look { now: self.now(), ..Look::default() };
        let found = entry_detail(&*self.store, &TenantId::new(tenant), &key, &look).await;
        let found = found.expect("the engine does not fail").expect("it is there");
        found.explain.held_by.into_iter().map(|hold| (hold.code, hold.detail)).collect()
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn number(&self, tenant: &str, to: &str) -> NumberKey {
        self.numbers.key(tenant, &Phone::parse(to).expect(to))
    }

    /// A live batch that calls these numbers, each in its time zone.
    pub async fn batch(
        &self,
        tenant: &str,
        name: &str,
        options: BatchOptions,
        to: &[(&str, Option<&str>)],
    ) -> BatchId {
        let (tenant, id) = (TenantId::new(tenant), BatchId::from_token(name));
        let total = u32::try_from(to.len()).expect("few");
        let spec = BatchSpec {
            mode: BatchMode::Live,
            seed: 42,
            voice_id: "demo".to_owned(),
            initiated_by: 1,
            agent_id: None,
            from_number: None,
            total,
            weights: OutcomeWeights::default(),
            faults: ScriptedFaults::default(),
            outcomes: OutcomeMode::Exact,
            durations: Durations::default(),
            options: options.clone(),
            retry_of: None,
            webhooks: Vec::new(),
        };
        let created_at = self.now();
        let new = NewBatch { tenant: tenant.clone(), id: id.clone(), spec, created_at };
        self.store.create_batch(new).await.expect("created");
        let entry = |(seq, (to, zone)): (u32, &(&str, Option<&str>))| NewEntry {
            seq,
            to: Phone::parse(to).expect(to),
            number: self.number(tenant.as_str(), to),
            timezone: zone.map(str::to_owned),
            variables: None,
            planned: None,
            not_before: policy::schedule::earliest(&options, *zone, created_at),
        };
        let entries: Vec<_> = (1..).zip(to).map(entry).collect();
        self.store.add_entries(&tenant, &id, &entries).await.expect("added");
        self.store.accept_batch(&tenant, &id, created_at, None).await.expect("accepted");
        id
    }

    /// A live batch of so many numbers of its own.
    pub async fn many(&self, tenant: &str, name: &str, options: BatchOptions, n: u32) -> BatchId {
        let mix = |hash: u32, byte: u8| hash.wrapping_mul(16_777_619) ^ u32::from(byte);
        let prefix = name.bytes().fold(2_166_136_261, mix) % 10_000_000;
        let numbers: Vec<_> = (0..n).map(|n| format!("+49{prefix:07}{n:05}")).collect();
        let to: Vec<_> = numbers.iter().map(|to| (to.as_str(), None)).collect();
        self.batch(tenant, name, options, &to).await
    }

    /// Lets time pass until `until`, from one thing that falls due to the next. Returns
    /// early if the dispatcher finds no end of work.
    pub async fn run(&mut self, until: Timestamp) {
        while self.now() <= until {
            let since = self.now();
            self.look().await;
            let next = self.dispatcher.next_due(since).await.expect("the engine does not fail");
            let ends = self.going_on.iter().map(|(at, _)| *at);
            // The dispatcher looks by itself every second; here only now and then.
            let next = next.into_iter().chain(ends).chain([since + s(60)]).min();
            let next = next.expect("never empty").max(since + Duration::from_millis(1));
            if next > until {
                break;
            }
            self.clock.0.store(next.as_micros(), Ordering::Relaxed);
        }
        self.clock.0.store(until.as_micros(), Ordering::Relaxed);
    }

    /// One round of the dispatcher's loop, until there is nothing left to do at once.
    pub async fn look(&mut self) {
        for _ in 0..10_000 {
            self.looks += 1;
            let ended = self.end_calls().await;
            let expired = self.dispatcher.expire().await.expect("the engine does not fail");
            let closed = self.dispatcher.close().await.expect("the engine does not fail");
            let reported = self.reporter.tick().await.expect("the engine does not fail");
            if ended + expired + closed + reported + self.round().await == 0 {
                return;
            }
        }
        panic!("the dispatcher does not come to rest");
    }

    /// Begins what the dispatcher claims in one go.
    pub async fn round(&mut self) -> usize {
        let Claims { leased, moved } = self.dispatcher.claim(16).await.expect("no failure");
        let done = moved + leased.len();
        for (spec, entry, since) in leased {
            let happening = self.dispatcher.send(&spec, &entry, since).await;
            let taken = matches!(happening, Happening::DispatchAccepted { .. });
            let down = self.livekit.down.load(Ordering::Relaxed);
            assert_ne!(taken, down, "{happening:?}");
            self.dispatcher.record(&spec, &entry, happening).await.expect("recorded");
            if taken {
                self.begin(entry).await;
            }
        }
        done
    }

    async fn begin(&mut self, entry: EntryRow) {
        self.begun.push(Begun { at: self.now(), entry: entry.clone() });
        if (self.ends)(&entry).is_none() {
            return;
        }
        let call = entry.key.call_id(entry.attempt);
        let claimed = self.calls.claim(&entry.tenant, &call, Some("agent".to_owned())).await;
        claimed.expect("the dial is free");
        self.going_on.push((self.now() + self.lasts, entry));
    }

    async fn end_calls(&mut self) -> usize {
        let now = self.now();
        let (over, going_on) = self.going_on.drain(..).partition(|(end, _)| *end <= now);
        self.going_on = going_on;
        let over: Vec<(Timestamp, EntryRow)> = over;
        let ended = over.len();
        for (_, entry) in over {
            let request = EntryCompletedRequest {
                call_id: entry.key.call_id(entry.attempt),
                entry_id: entry.key.entry_id(),
                attempt: entry.attempt,
                status: (self.ends)(&entry).expect("only such calls go on"),
                duration_ms: None,
                reason: None,
            };
            self.calls.completed(&entry.tenant, &request).await.expect("taken");
        }
        ended
    }

    pub async fn row(&self, tenant: &str, id: &BatchId) -> BatchRow {
        let row = self.store.batch(&TenantId::new(tenant), id).await;
        row.expect("the engine does not fail").expect("there is such a batch")
    }

    pub async fn entry(&self, tenant: &str, id: &BatchId, seq: u32) -> EntryRow {
        let page = self.store.entries(&TenantId::new(tenant), id, seq - 1, 1).await;
        let (entry, _) = page.expect("no failure").remove(0);
        assert_eq!(entry.key, EntryKey { batch: id.clone(), seq });
        entry
    }

    /// Entries of the batch in a state.
    pub async fn count(&self, tenant: &str, id: &BatchId, state: EntryState) -> u32 {
        self.row(tenant, id).await.count(|of| of == state)
    }

    /// When calls of the batch began, in seconds after the start.
    pub fn begun_s(&self, id: &BatchId) -> Vec<f64> {
        let own = self.begun.iter().filter(|begun| begun.entry.key.batch == *id);
        own.map(|begun| begun.at.since(at(START)).as_secs_f64()).collect()
    }
}
