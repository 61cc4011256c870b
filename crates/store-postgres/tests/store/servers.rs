//! Several servers on one store: what they do at once adds up.

use std::collections::BTreeSet;
use std::sync::Arc;

use dialtone_auth::{NumberKey, Phone};
use dialtone_clock::Timestamp;
use dialtone_contract::wire::{BatchOptions, Durations, OutcomeMode};
use dialtone_contract::{
    BatchId, BatchState, CallState, EntryEvent, EntryState, Outcome, OutcomeWeights,
    ScriptedFaults, TenantId,
};
use dialtone_store::{
    BatchMode, BatchSpec, BatchStore, CallPatch, Change, ClaimDue, Directory as _, EntryRow,
    NewBatch, NewEntry, NumberRelease, Transition,
};
use dialtone_store_postgres::PostgresStore;

use crate::support;

const SERVERS: u64 = 4;
const BATCHES: usize = 3;
const TOTAL: u32 = 60;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + seconds * 1_000_000)
}

fn batch(n: usize) -> BatchId {
    BatchId::from_token(&format!("b{n}"))
}

async fn load(store: &PostgresStore, tenant: &TenantId, id: &BatchId) {
    let spec = BatchSpec {
        mode: BatchMode::Live,
        seed: 1,
        voice_id: "demo".to_owned(),
        initiated_by: 1,
        agent_id: None,
        from_number: None,
        total: TOTAL,
        weights: OutcomeWeights::default(),
        faults: ScriptedFaults::default(),
        outcomes: OutcomeMode::Exact,
        durations: Durations::default(),
        options: BatchOptions::default(),
        retry_of: None,
        webhooks: Vec::new(),
    };
    let new = NewBatch { tenant: tenant.clone(), id: id.clone(), spec, created_at: at(0) };
    store.create_batch(new).await.expect("created");
    let entry = |seq: u32| {
        // The same numbers in every batch, in another order than their places.
        let mut key = [0; NumberKey::LEN];
        key[..4].copy_from_slice(&seq.wrapping_mul(2_654_435_761).to_be_bytes());
        NewEntry {
            seq,
            to: Phone::parse(&format!("+1555000{seq:04}")).expect("a number"),
            number: NumberKey::from_bytes(key),
            timezone: None,
            variables: None,
            planned: None,
            not_before: at(0),
        }
    };
    let entries: Vec<NewEntry> = (1..=TOTAL).map(entry).collect();
    store.add_entries(tenant, id, &entries).await.expect("added");
    store.accept_batch(tenant, id, at(0), None).await.expect("accepted");
}

/// The end of a leased entry's attempt, which lets go of its number.
fn end(entry: &EntryRow) -> Change {
    Change::Entry(Transition {
        tenant: entry.tenant.clone(),
        key: entry.key.clone(),
        event: EntryEvent::Reported,
        from: entry.state,
        from_outcome: None,
        attempt: entry.attempt,
        lease_epoch: Some(entry.lease_epoch),
        deadline_seen: None,
        batch_in: None,
        to: EntryState::Completed,
        outcome: Some(Outcome::Completed),
        new_attempt: entry.attempt,
        dial: false,
        not_before: None,
        deadline: None,
        cap: None,
        number: Some(NumberRelease { key: entry.number, free_at: None }),
        call: CallPatch { state: Some(CallState::Ended), ..CallPatch::default() },
        outbox: Vec::new(),
        at: at(3),
    })
}

/// Claims and ends entries of all batches until none is left.
async fn serve(store: Arc<PostgresStore>, tenant: TenantId, epoch: u64) -> Vec<(BatchId, u32)> {
    let mut mine = Vec::new();
    loop {
        let mut looked = 0;
        let mut ended = Vec::new();
        for n in 0..BATCHES {
            let claim = ClaimDue {
                tenant: tenant.clone(),
                batch: batch((n + usize::try_from(epoch).expect("small")) % BATCHES),
                claimable: &[BatchState::Accepted],
                limit: 7,
                max_in_flight: u32::MAX,
                tenant_max_in_flight: Some(40),
                barrier: false,
                pace: None,
                exclusive: true,
                zones_open: None,
                now: at(1),
                deadline: at(11),
                lease_epoch: epoch,
            };
            let claimed = store.claim_due(claim).await.expect("claimed");
            looked += claimed.leased.len() + claimed.held.len();
            let in_flight = store.in_flight(&tenant).await.expect("read");
            assert!(in_flight <= 40, "{in_flight} of the tenant's 40 are in flight");
            ended.extend(claimed.leased);
        }
        let changes: Vec<Change> = ended.iter().rev().map(end).collect();
        let answers = store.apply(&changes).await.expect("applied");
        assert!(answers.iter().all(|answer| answer.is_applied()), "its own lease was stale");
        mine.extend(ended.into_iter().map(|entry| (entry.key.batch, entry.key.seq)));
        let left = store.due_batches(&[BatchState::Accepted], at(1), None, 9).await.expect("read");
        if looked == 0 && left.is_empty() {
            return mine;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counters_and_events_have_no_gap_with_many_servers() {
    let Some((first, place, _cluster)) = support::store("servers").await else { return };
    let tenant = TenantId::new("acme");
    for n in 0..BATCHES {
        load(&first, &tenant, &batch(n)).await;
    }
    let mut servers = Vec::new();
    for epoch in 1..=SERVERS {
        let store = PostgresStore::open(&place, support::clock()).await.expect("opened");
        servers.push(tokio::spawn(serve(Arc::new(store), tenant.clone(), epoch)));
    }
    let mut seen = BTreeSet::new();
    for server in servers {
        for entry in server.await.expect("no server panics") {
            assert!(seen.insert(entry.clone()), "{entry:?} was leased twice");
        }
    }
    assert_eq!(seen.len(), BATCHES * TOTAL as usize, "an entry was lost");
    for n in 0..BATCHES {
        let row = first.batch(&tenant, &batch(n)).await.expect("read").expect("there");
        let done = (EntryState::Completed, Some(Outcome::Completed));
        assert_eq!(row.counters, [(done, TOTAL)].into(), "counters are not what a recount gives");
        assert_eq!(row.attempts, TOTAL);
        let events = first.events(&tenant, &batch(n), 0, u32::MAX).await.expect("read");
        assert_eq!(events.len() as u64, row.event_seq);
        assert!(events.iter().zip(1..).all(|(event, seq)| event.event_seq == seq), "a gap");
    }
}
