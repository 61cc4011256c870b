//! What was acknowledged survives the death of the process, and answers come after the
//! commit.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use dialtone_auth::{NumberKey, Phone};
use dialtone_clock::{ScaledClock, Timeline, Timestamp};
use dialtone_contract::wire::{BatchOptions, Durations, OutcomeMode};
use dialtone_contract::{
    BatchId, BatchState, EntryState, OutcomeWeights, ScriptedFaults, TenantId,
};
use dialtone_store::{BatchMode, BatchSpec, BatchStore, ClaimDue, Idempotency, NewBatch, NewEntry};
use dialtone_store_sqlite::{DB_FILE, SqliteStore};

const DIR_ENV: &str = "DIALTONE_TEST_DURABILITY_DIR";
const KILLS: usize = 5;

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir, Arc::new(ScaledClock::new(Timeline::REAL))).expect("opened")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + seconds * 1_000_000)
}

fn new_batch(tenant: &TenantId, batch: &BatchId) -> NewBatch {
    let spec = BatchSpec {
        mode: BatchMode::Test,
        seed: 1,
        voice_id: "demo".to_owned(),
        initiated_by: 1,
        agent_id: None,
        from_number: None,
        total: 3,
        weights: OutcomeWeights::default(),
        faults: ScriptedFaults::default(),
        outcomes: OutcomeMode::Exact,
        durations: Durations::default(),
        options: BatchOptions::default(),
        retry_of: None,
        webhooks: Vec::new(),
    };
    NewBatch { tenant: tenant.clone(), id: batch.clone(), spec, created_at: at(0) }
}

fn entries() -> Vec<NewEntry> {
    let to = Phone::parse("+15550000001").expect("a number");
    let entry = |seq| NewEntry {
        seq,
        to: to.clone(),
        number: NumberKey::from_bytes([0; NumberKey::LEN]),
        timezone: None,
        variables: None,
        planned: None,
        not_before: at(0),
    };
    (1..=3).map(entry).collect()
}

/// Accepts a batch and leases two of its three entries, telling after each answer.
async fn one_batch(store: &SqliteStore, tenant: &TenantId, token: &str, tell: impl Fn(&str)) {
    let batch = BatchId::from_token(token);
    store.create_batch(new_batch(tenant, &batch)).await.expect("created");
    tell("created");
    store.add_entries(tenant, &batch, &entries()).await.expect("added");
    tell("loaded");
    let key = Idempotency { key: token.to_owned(), request_hash: "h".to_owned() };
    store.accept_batch(tenant, &batch, at(0), Some(key)).await.expect("accepted");
    tell("accepted");
    let claim = ClaimDue {
        tenant: tenant.clone(),
        batch,
        claimable: &[BatchState::Accepted],
        limit: 2,
        max_in_flight: u32::MAX,
        tenant_max_in_flight: None,
        barrier: false,
        pace: None,
        exclusive: false,
        zones_open: None,
        now: at(1),
        deadline: at(9),
        lease_epoch: 1,
    };
    assert_eq!(store.claim_due(claim).await.expect("claimed").leased.len(), 2);
    tell("claimed");
}

/// The child: writes until it is killed. Runs only when a parent asks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR_ENV).map(PathBuf::from) else { return };
    let store = Arc::new(open(&dir));
    let run = std::process::id();
    let writers: Vec<_> = (0..6)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let tenant = TenantId::new("acme");
                for n in 0.. {
                    let token = format!("p{run}w{writer}n{n}");
                    let tell = |what: &str| {
                        // One write per line, so that no line is cut by another.
                        let line = format!("ack {token} {what}\n");
                        let mut out = std::io::stdout();
                        out.write_all(line.as_bytes()).and_then(|()| out.flush()).expect("told");
                    };
                    one_batch(&store, &tenant, &token, tell).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("killed before it ends");
    }
}

/// Starts the child, kills it after some acknowledgements, and gives all that it made.
fn kill_a_child(dir: &Path, after: usize) -> Vec<(String, String)> {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child_that_writes_until_it_is_killed", "--nocapture"])
        .env(DIR_ENV, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut acks = Vec::new();
    let mut killed = false;
    // What it wrote before it died is still in the pipe after.
    while let Some(Ok(line)) = lines.next() {
        let mut words = line.split_whitespace().skip_while(|word| *word != "ack").skip(1);
        if let (Some(token), Some(what)) = (words.next(), words.next()) {
            acks.push((token.to_owned(), what.to_owned()));
        }
        if acks.len() >= after && !killed {
            child.kill().expect("killed");
            killed = true;
        }
    }
    let status = child.wait().expect("reaped");
    assert!(killed && !status.success(), "it ended by itself: {status}");
    acks
}

async fn check(store: &SqliteStore, token: &str, what: &str) {
    let (tenant, batch) = (TenantId::new("acme"), BatchId::from_token(token));
    let row = store.batch(&tenant, &batch).await.expect("read");
    let row = row.unwrap_or_else(|| panic!("{token} was acknowledged as {what} and is gone"));
    let total: u32 = row.counters.values().sum();
    match what {
        "created" => {}
        "loaded" => assert_eq!(total, 3, "{token}"),
        "accepted" => {
            assert_eq!(row.state, BatchState::Accepted, "{token}");
            let found = store.accepted_under(&tenant, token).await.expect("read");
            assert_eq!(found, Some((batch, "h".to_owned())));
        }
        "claimed" => {
            assert_eq!(row.attempts, 2, "{token}");
            assert_eq!(row.count(|state| state == EntryState::Leased), 2, "{token}");
            let entries = store.entries(&tenant, &batch, 0, 9).await.expect("read");
            assert_eq!(entries.iter().map(|(_, calls)| calls.len()).sum::<usize>(), 2);
            let events = store.events(&tenant, &batch, 0, 9).await.expect("read");
            assert_eq!(events.len() as u64, row.event_seq);
        }
        other => panic!("an acknowledgement of {other}"),
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut all = Vec::new();
    for round in 0..KILLS {
        all.extend(kill_a_child(dir.path(), 150 + 77 * round));
        let store = open(dir.path());
        for (token, what) in &all {
            check(&store, token, what).await;
        }
    }
    let kinds: BTreeSet<&str> = all.iter().map(|(_, what)| what.as_str()).collect();
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    let connection = rusqlite::Connection::open(dir.path().join(DB_FILE)).expect("opened");
    let verdict: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
    assert_eq!(verdict, "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn answers_come_after_the_commit() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Arc::new(open(dir.path()));
    let writers: Vec<_> = (0..64)
        .map(|n| {
            let (store, path) = (Arc::clone(&store), dir.path().join(DB_FILE));
            tokio::spawn(async move {
                let (tenant, batch) =
                    (TenantId::new("acme"), BatchId::from_token(&format!("c{n}")));
                store.create_batch(new_batch(&tenant, &batch)).await.expect("created");
                // Another connection, as another process would have: committed rows only.
                let other = rusqlite::Connection::open(path).expect("opened");
                let sql = "SELECT count(*) FROM voice_call_batches WHERE batch_id = ?1";
                let seen: u32 =
                    other.query_row(sql, [batch.as_str()], |row| row.get(0)).expect("read");
                assert_eq!(seen, 1, "answered before it was committed");
                // And its own reader.
                assert!(store.batch(&tenant, &batch).await.expect("read").is_some());
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no writer panics");
    }
}
