//! Figures of the embedded engine on this machine. Ignored unless asked for:
//! `cargo test -p dialtone-store-sqlite --release --test bench -- --ignored --nocapture`.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dialtone_auth::{NumberKey, Phone};
use dialtone_clock::{ScaledClock, Timeline, Timestamp};
use dialtone_contract::wire::{BatchOptions, Durations, OutcomeMode};
use dialtone_contract::{
    BatchId, BatchState, EntryEvent, EntryState, OutcomeWeights, ScriptedFaults, TenantId,
};
use dialtone_store::{
    BatchMode, BatchSpec, BatchStore, CallPatch, Change, ClaimDue, EntryRow, NewBatch, NewEntry,
    Transition,
};
use dialtone_store_sqlite::SqliteStore;

const SPAN: Duration = Duration::from_secs(2);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + seconds * 1_000_000)
}

fn tenant() -> TenantId {
    TenantId::new("acme")
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("stdout is open");
}

/// What the disk can do: one thread, 8 KiB written over and flushed.
fn fdatasync(dir: &Path) {
    let file = std::fs::File::create(dir.join("calibration")).expect("created");
    let block = [0x5a; 8192];
    file.write_all_at(&block, 0).and_then(|()| file.sync_all()).expect("written");
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < SPAN {
        let one = Instant::now();
        file.write_all_at(&block, 0).and_then(|()| file.sync_data()).expect("flushed");
        times.push(one.elapsed());
    }
    times.sort_unstable();
    let (n, rate) = (times.len(), times.len() as f64 / start.elapsed().as_secs_f64());
    let (p50, p99) = (times[n / 2], times[n * 99 / 100]);
    say(&format!("fdatasync 8 KiB: {rate:.0}/s, p50 {p50:.2?}, p99 {p99:.2?}"));
}

fn spec(total: u32) -> BatchSpec {
    BatchSpec {
        mode: BatchMode::Test,
        seed: 1,
        voice_id: "demo".to_owned(),
        initiated_by: 1,
        agent_id: None,
        from_number: None,
        total,
        weights: OutcomeWeights::default(),
        faults: ScriptedFaults::default(),
        outcomes: OutcomeMode::Exact,
        durations: Durations::default(),
        options: BatchOptions::default(),
        retry_of: None,
        webhooks: Vec::new(),
    }
}

async fn loaded(store: &SqliteStore, token: &str, total: u32) -> BatchId {
    let batch = BatchId::from_token(token);
    let new =
        NewBatch { tenant: tenant(), id: batch.clone(), spec: spec(total), created_at: at(0) };
    store.create_batch(new).await.expect("created");
    let to = Phone::parse("+15550000001").expect("a number");
    let entries: Vec<NewEntry> = (1..=total)
        .map(|seq| NewEntry {
            seq,
            to: to.clone(),
            number: NumberKey::from_bytes([0; NumberKey::LEN]),
            timezone: None,
            variables: None,
            planned: None,
            not_before: at(0),
        })
        .collect();
    let start = Instant::now();
    for chunk in entries.chunks(5_000) {
        store.add_entries(&tenant(), &batch, chunk).await.expect("added");
    }
    let rate = f64::from(total) / start.elapsed().as_secs_f64();
    say(&format!("add_entries, chunks of 5000: {rate:.0} rows/s"));
    store.accept_batch(&tenant(), &batch, at(0), None).await.expect("accepted");
    batch
}

fn heartbeat(entry: &EntryRow) -> Transition {
    Transition {
        tenant: entry.tenant.clone(),
        key: entry.key.clone(),
        event: EntryEvent::Heartbeat,
        from: entry.state,
        from_outcome: entry.outcome,
        attempt: entry.attempt,
        lease_epoch: None,
        deadline_seen: None,
        batch_in: None,
        to: entry.state,
        outcome: entry.outcome,
        new_attempt: entry.attempt,
        dial: false,
        not_before: None,
        deadline: Some(at(99)),
        cap: None,
        number: None,
        call: CallPatch::default(),
        outbox: Vec::new(),
        at: at(2),
    }
}

/// Each producer moves its own entries `leased -> dispatched -> leased ..`, recorded.
async fn applies(store: &Arc<SqliteStore>, entries: &[EntryRow], producers: usize) {
    let start = Instant::now();
    let tasks: Vec<_> = (0..producers)
        .map(|producer| {
            let (store, entry) = (Arc::clone(store), entries[producer].clone());
            tokio::spawn(async move {
                let mut done = Vec::new();
                let mut state = entry.state;
                while start.elapsed() < SPAN {
                    let to = match state {
                        EntryState::Leased => EntryState::Dispatched,
                        _ => EntryState::Leased,
                    };
                    let event = EntryEvent::DispatchAccepted;
                    let change = Transition { event, from: state, to, ..heartbeat(&entry) };
                    let one = Instant::now();
                    let answer = store.apply(&[Change::Entry(change)]).await.expect("applied");
                    done.push(one.elapsed());
                    assert!(answer[0].is_applied());
                    state = to;
                }
                // Back where the next round expects it.
                if state != entry.state {
                    let change = Transition { from: state, ..heartbeat(&entry) };
                    let change = Transition { to: entry.state, ..change };
                    store.apply(&[Change::Entry(change)]).await.expect("applied");
                }
                done
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("no producer panics"));
    }
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    times.sort_unstable();
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    say(&format!("apply, {producers:>3} producers: {rate:.0}/s, p50 {p50:.2?}, p99 {p99:.2?}"));
}

async fn claims(store: &SqliteStore, batch: &BatchId, limit: u32) -> Vec<EntryRow> {
    let claim = ClaimDue {
        tenant: tenant(),
        batch: batch.clone(),
        claimable: &[BatchState::Accepted],
        limit,
        max_in_flight: u32::MAX,
        tenant_max_in_flight: None,
        barrier: false,
        pace: None,
        exclusive: false,
        zones_open: None,
        now: at(1),
        deadline: at(99),
        lease_epoch: 1,
    };
    let (start, mut rows, mut n) = (Instant::now(), Vec::new(), 0_u32);
    while start.elapsed() < SPAN {
        let leased = store.claim_due(claim.clone()).await.expect("claimed").leased;
        if leased.is_empty() {
            break;
        }
        rows.extend(leased);
        n += 1;
    }
    let elapsed = start.elapsed();
    let rate = rows.len() as f64 / elapsed.as_secs_f64();
    say(&format!("claim_due, limit {limit}: {rate:.0} rows/s, {:.2?} a claim", elapsed / n));
    rows
}

async fn reads(store: &SqliteStore, batch: &BatchId) {
    let tenant = tenant();
    for what in ["batch", "next_due", "entries page of 100"] {
        let (start, mut n) = (Instant::now(), 0_u32);
        while start.elapsed() < SPAN / 4 {
            match what {
                "batch" => drop(store.batch(&tenant, batch).await.expect("read")),
                "next_due" => {
                    let next = store.next_due(at(1), &[BatchState::Accepted]).await;
                    next.expect("read");
                }
                _ => drop(store.entries(&tenant, batch, 500, 100).await.expect("read")),
            }
            n += 1;
        }
        say(&format!("{what}: {:.1?} each", start.elapsed() / n));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, proves nothing"]
async fn bench() {
    let dir = tempfile::tempdir_in(".").expect("a temporary directory on a real disk");
    let build = if cfg!(debug_assertions) { "dev" } else { "release" };
    say(&format!("\nbuild: {build}"));
    fdatasync(dir.path());
    let open = Instant::now();
    let clock = Arc::new(ScaledClock::new(Timeline::REAL));
    let store = Arc::new(SqliteStore::open(dir.path(), clock).expect("opened"));
    say(&format!("open with a new schema: {:.2?}", open.elapsed()));
    let batch = loaded(&store, "bench", 200_000).await;
    reads(&store, &batch).await;
    claims(&store, &batch, 1).await;
    let leased = claims(&store, &batch, 100).await;
    for producers in [1, 8, 64, 256] {
        applies(&store, &leased, producers).await;
    }
    reads(&store, &batch).await;
    let close = Instant::now();
    store.close().await;
    say(&format!("close: {:.2?}", close.elapsed()));
}
