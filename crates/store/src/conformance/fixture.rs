//! What the cases have in common: batches, entries in any state, recounts.

use dialtone_auth::{NumberKey, Phone};
use dialtone_clock::Timestamp;
use dialtone_contract::wire::{BatchOptions, Durations, OutcomeMode};
use dialtone_contract::{
    AttemptEffect, BatchId, BatchState, CallState, EntryEvent, EntryState, Outcome, OutcomeWeights,
    PlannedOutcome, ScriptedFaults, TenantId,
};

use crate::{
    Applied, BatchMode, BatchRow, BatchSpec, BatchTransition, CallPatch, CallRow, Change, ClaimDue,
    Counters, EntryRow, EventRow, Lane, NewBatch, NewEntry, OutboxItem, Store, Transition,
};

pub(super) const CLAIMABLE: &[BatchState] = &[BatchState::Accepted, BatchState::Running];
pub(super) const EPOCH: u64 = 7;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + seconds * 1_000_000)
}

/// After everything that a case does.
pub(super) fn far() -> Timestamp {
    at(10_000_000)
}

pub(super) fn tenant(name: &str) -> TenantId {
    TenantId::new(name)
}

pub(super) fn spec(total: u32) -> BatchSpec {
    BatchSpec {
        mode: BatchMode::Test,
        seed: 42,
        voice_id: "demo".to_owned(),
        initiated_by: 1,
        agent_id: Some(-3),
        from_number: Some("+15550009999".to_owned()),
        total,
        weights: OutcomeWeights { completed: total, ..OutcomeWeights::default() },
        faults: ScriptedFaults::default(),
        outcomes: OutcomeMode::Exact,
        durations: Durations::default(),
        options: BatchOptions::default(),
        retry_of: None,
        webhooks: Vec::new(),
    }
}

pub(super) fn new_batch(tenant: &TenantId, batch: &BatchId, total: u32) -> NewBatch {
    NewBatch { tenant: tenant.clone(), id: batch.clone(), spec: spec(total), created_at: at(-5) }
}

/// The number of entry `seq`, the same in every batch.
pub(super) fn number(seq: u32) -> NumberKey {
    let mut bytes = [0xAB; NumberKey::LEN];
    bytes[..4].copy_from_slice(&seq.to_be_bytes());
    NumberKey::from_bytes(bytes)
}

pub(super) fn new_entry(seq: u32, not_before: Timestamp) -> NewEntry {
    let to = Phone::parse(&format!("+1555000{seq:04}")).expect("a number");
    let planned = (!seq.is_multiple_of(3)).then_some(PlannedOutcome::Completed);
    let timezone = seq.is_multiple_of(2).then(|| "Europe/Berlin".to_owned());
    let variables = seq.is_multiple_of(5).then(|| r#"{"name":"Ada"}"#.to_owned());
    NewEntry { seq, to, number: number(seq), timezone, variables, planned, not_before }
}

/// A loading batch with entries 1 to `total`, all due at `at(0)`.
pub(super) async fn loading(
    store: &dyn Store,
    tenant: &TenantId,
    token: &str,
    total: u32,
) -> BatchId {
    let batch = BatchId::from_token(token);
    store.create_batch(new_batch(tenant, &batch, total)).await.expect("created");
    let entries: Vec<NewEntry> = (1..=total).map(|seq| new_entry(seq, at(0))).collect();
    store.add_entries(tenant, &batch, &entries).await.expect("added");
    batch
}

/// An accepted batch with entries 1 to `total`, all due at `at(0)`.
pub(super) async fn accepted(
    store: &dyn Store,
    tenant: &TenantId,
    token: &str,
    total: u32,
) -> BatchId {
    let batch = loading(store, tenant, token, total).await;
    store.accept_batch(tenant, &batch, at(0), None).await.expect("accepted");
    batch
}

pub(super) fn claim_due(tenant: &TenantId, batch: &BatchId, limit: u32) -> ClaimDue {
    ClaimDue {
        tenant: tenant.clone(),
        batch: batch.clone(),
        claimable: CLAIMABLE,
        limit,
        max_in_flight: u32::MAX,
        tenant_max_in_flight: None,
        barrier: false,
        pace: None,
        exclusive: false,
        zones_open: None,
        now: at(1),
        deadline: at(11),
        lease_epoch: EPOCH,
    }
}

/// Leases what `due` asks for, of which nothing must be held.
pub(super) async fn leased(store: &dyn Store, due: ClaimDue) -> Vec<EntryRow> {
    let claimed = store.claim_due(due).await.expect("claimed");
    assert_eq!(claimed.held, [], "held without a reason");
    claimed.leased
}

pub(super) fn move_batch(
    tenant: &TenantId,
    batch: &BatchId,
    from: BatchState,
    to: BatchState,
) -> BatchTransition {
    BatchTransition {
        tenant: tenant.clone(),
        batch: batch.clone(),
        from,
        unmoved_since: None,
        to,
        reason: Some(format!("from {from}")),
        limits: None,
        cancel: None,
        outbox: Vec::new(),
        at: at(2),
    }
}

/// The change that `event` makes to `entry` as it stands, to state `to`.
pub(super) fn transition(entry: &EntryRow, event: EntryEvent, to: EntryState) -> Transition {
    let effect = event.rule().attempt;
    let outcome = match to {
        EntryState::Completed => Some(Outcome::Completed),
        EntryState::Cancelled => Some(Outcome::Cancelled),
        EntryState::Failed => Some(Outcome::TimeoutUnclaimed),
        EntryState::RetryWait => Some(Outcome::DispatchFailed),
        _ => None,
    };
    let ended = to.is_terminal() || to == EntryState::RetryWait;
    let call = CallPatch {
        state: Some(if ended { CallState::Ended } else { CallState::Ringing }),
        ended_at: ended.then(|| at(4)),
        outcome,
        duration_ms: ended.then_some(1234),
        reason: ended.then(|| event.as_str().to_owned()),
        remove: effect == AttemptEffect::GiveBack,
        ..CallPatch::default()
    };
    let room = entry.key.call_id(entry.attempt).as_str().to_owned();
    Transition {
        tenant: entry.tenant.clone(),
        key: entry.key.clone(),
        event,
        from: entry.state,
        from_outcome: entry.outcome,
        attempt: entry.attempt,
        lease_epoch: None,
        deadline_seen: None,
        batch_in: None,
        to,
        outcome,
        new_attempt: entry.attempt - u32::from(effect == AttemptEffect::GiveBack),
        dial: effect == AttemptEffect::Dial,
        not_before: to.is_waiting().then(|| at(30)),
        deadline: to.is_in_flight().then(|| at(40)),
        cap: to.is_live().then(|| at(900)),
        number: None,
        call,
        outbox: if ended { vec![OutboxItem::DeleteRoom { room }] } else { Vec::new() },
        at: at(3),
    }
}

pub(super) async fn apply(store: &dyn Store, change: &Transition) -> Applied {
    let answers = store.apply(&[Change::Entry(change.clone())]).await.expect("applied");
    let [answer] = answers[..] else { panic!("{} answers to one change", answers.len()) };
    answer
}

pub(super) async fn must_apply(store: &dyn Store, change: &Transition) -> u64 {
    match apply(store, change).await {
        Applied::Applied { event_seq } => event_seq,
        Applied::Stale => panic!("{:?} from {} was stale", change.event, change.from),
    }
}

pub(super) async fn entry(store: &dyn Store, like: &EntryRow) -> EntryRow {
    row(store, &like.tenant, &like.key.batch, like.key.seq).await.0
}

/// One entry with its attempts.
pub(super) async fn row(
    store: &dyn Store,
    tenant: &TenantId,
    batch: &BatchId,
    seq: u32,
) -> (EntryRow, Vec<CallRow>) {
    let page = store.entries(tenant, batch, seq - 1, 1).await.expect("read");
    let row = page.into_iter().next().expect("the entry is there");
    assert_eq!(row.0.key.seq, seq);
    row
}

/// The events that lead from a fresh lease to each state.
fn path(to: EntryState) -> &'static [(EntryEvent, EntryState)] {
    use EntryEvent::{Answered, DialClaimed, DispatchAccepted, LeaseExpired, Reported};
    use EntryState::{Cancelled, Claimed, Completed, Dispatched, Failed, InCall, RetryWait};
    match to {
        EntryState::Pending | EntryState::Leased => &[],
        RetryWait => &[(LeaseExpired, RetryWait)],
        Dispatched => &[(DispatchAccepted, Dispatched)],
        Claimed => &[(DialClaimed, Claimed)],
        InCall => &[(DispatchAccepted, Dispatched), (DialClaimed, Claimed), (Answered, InCall)],
        Completed => &[(DialClaimed, Claimed), (Reported, Completed)],
        Failed => &[(LeaseExpired, Failed)],
        Cancelled => &[(DialClaimed, Claimed), (Reported, Cancelled)],
    }
}

/// Brings the earliest due entry of the batch to `state` by the legal way.
pub(super) async fn drive(
    store: &dyn Store,
    tenant: &TenantId,
    batch: &BatchId,
    state: EntryState,
) -> EntryRow {
    let leased = leased(store, claim_due(tenant, batch, 1)).await;
    let mut now = leased.into_iter().next().expect("an entry is due");
    for (event, to) in path(state) {
        must_apply(store, &transition(&now, *event, *to)).await;
        now = entry(store, &now).await;
    }
    if state == EntryState::Pending {
        must_apply(store, &transition(&now, EntryEvent::LeaseReturned, state)).await;
        now = entry(store, &now).await;
    }
    assert_eq!(now.state, state);
    now
}

/// A batch with one entry in each state, in the order of [`EntryState::ALL`].
pub(super) async fn one_in_each_state(
    store: &dyn Store,
    tenant: &TenantId,
    token: &str,
) -> (BatchId, Vec<EntryRow>) {
    let total = u32::try_from(EntryState::ALL.len()).expect("few states");
    let batch = accepted(store, tenant, token, total).await;
    let mut entries = Vec::new();
    for state in EntryState::ALL {
        entries.push(drive(store, tenant, &batch, *state).await);
    }
    (batch, entries)
}

/// Everything that a batch is, as the ports show it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Snapshot {
    pub(super) row: Option<BatchRow>,
    pub(super) entries: Vec<(EntryRow, Vec<CallRow>)>,
    pub(super) events: Vec<EventRow>,
    pub(super) reports: Vec<String>,
    pub(super) outbox: Vec<(i64, TenantId, OutboxItem)>,
}

pub(super) async fn snapshot(store: &dyn Store, tenant: &TenantId, batch: &BatchId) -> Snapshot {
    let mut outbox = store.due_outbox(Lane::LiveKit, far(), far(), u32::MAX).await.expect("read");
    // Looking makes what was due before due later: the order says nothing here.
    outbox.sort_by_key(|item| item.id);
    Snapshot {
        row: store.batch(tenant, batch).await.expect("read"),
        entries: store.entries(tenant, batch, 0, u32::MAX).await.expect("read"),
        events: store.events(tenant, batch, 0, u32::MAX).await.expect("read"),
        reports: store.reports(tenant, batch).await.expect("read"),
        // Handing out counts tries; everything else must stay.
        outbox: outbox.into_iter().map(|item| (item.id, item.tenant, item.item)).collect(),
    }
}

impl Snapshot {
    /// Counters are what a recount gives, events have no gap and fold to the figures,
    /// and each entry's times are set exactly when they mean something.
    pub(super) fn check(&self) {
        let row = self.row.as_ref().expect("the batch is there");
        let mut counters = Counters::new();
        for (entry, calls) in &self.entries {
            *counters.entry((entry.state, entry.outcome)).or_default() += 1;
            assert_eq!(entry.not_before.is_some(), entry.state.is_waiting(), "{entry:?}");
            assert_eq!(entry.deadline.is_some(), entry.state.is_in_flight(), "{entry:?}");
            let attempts: Vec<u32> = calls.iter().map(|call| call.attempt).collect();
            assert_eq!(attempts, (1..=entry.attempt).collect::<Vec<_>>(), "{entry:?}");
        }
        assert_eq!(row.counters, counters, "counters are not what a recount gives");
        let total = self.entries.len();
        let folded = fold(&self.events, u32::try_from(total).expect("few entries"));
        assert_eq!(folded.last().map_or(0, |figures| figures.event_seq), row.event_seq);
        if let Some(figures) = folded.last() {
            figures.check(row);
        }
    }
}

/// A batch's figures after some event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figures {
    pub(super) event_seq: u64,
    pub(super) state: BatchState,
    pub(super) attempts: u32,
    pub(super) dials: u32,
    pub(super) counters: Counters,
}

impl Figures {
    pub(super) fn check(&self, row: &BatchRow) {
        let of_row = Self {
            event_seq: row.event_seq,
            state: row.state,
            attempts: row.attempts,
            dials: row.dials,
            counters: row.counters.clone(),
        };
        assert_eq!(*self, of_row, "the events fold to other figures than the row shows");
    }
}

/// The figures after each event of a batch with `total` entries.
pub(super) fn fold(events: &[EventRow], total: u32) -> Vec<Figures> {
    let mut now = Figures {
        event_seq: 0,
        state: BatchState::Loading,
        attempts: 0,
        dials: 0,
        counters: Counters::from([((EntryState::Pending, None), total)]),
    };
    now.counters.retain(|_, n| *n > 0);
    let mut all = Vec::with_capacity(events.len());
    for event in events {
        now.event_seq += 1;
        assert_eq!(event.event_seq, now.event_seq, "the stream has a gap");
        if event.seq.is_some() {
            fold_entry(&mut now, event);
        } else {
            assert_eq!(event.from, now.state.as_str(), "{event:?}");
            now.state = event.to.parse().expect("a batch state");
            let stays = event.from == event.to;
            let kind = if stays { "batch.changed" } else { now.state.event() };
            assert_eq!(event.kind, kind);
        }
        all.push(now.clone());
    }
    all
}

fn fold_entry(now: &mut Figures, event: &EventRow) {
    let from: EntryState = event.from.parse().expect("an entry state");
    let to: EntryState = event.to.parse().expect("an entry state");
    let left = now.counters.get_mut(&(from, event.from_outcome));
    let left = left.unwrap_or_else(|| panic!("{event:?} leaves where no entry is"));
    *left -= 1;
    *now.counters.entry((to, event.outcome)).or_default() += 1;
    now.counters.retain(|_, n| *n > 0);
    let is = |known: EntryEvent| event.kind == known.as_str();
    if is(EntryEvent::Leased) {
        now.attempts += 1;
    }
    if is(EntryEvent::LeaseReturned) {
        now.attempts -= 1;
    }
    if is(EntryEvent::DialClaimed) {
        now.dials += 1;
    }
}
