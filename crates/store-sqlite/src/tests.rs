//! What only the inside can show: query plans, failed commits, a full database.

use std::path::Path;
use std::sync::{Arc, mpsc};

use dialtone_clock::{Clock, ScaledClock, TimeScale, Timeline, Timestamp};
use dialtone_contract::TenantId;
use dialtone_store::{BatchFilter, BatchStore, Directory, StoreError};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::SqliteStore;
use crate::convert::Fault;
use crate::sql::{batches, entries, events, numbers, outbox};
use crate::writer::Written;

fn clock() -> Arc<dyn Clock> {
    Arc::new(ScaledClock::new(Timeline::REAL))
}

fn fresh() -> (Arc<SqliteStore>, TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    (Arc::new(SqliteStore::open(dir.path(), clock()).expect("opened")), dir)
}

async fn plan(store: &SqliteStore, sql: &'static str) -> Vec<String> {
    let explain = move |c: &Connection| {
        let mut statement = c.prepare(&["EXPLAIN QUERY PLAN ", sql].concat())?;
        let columns = vec![rusqlite::types::Null; statement.parameter_count()];
        let rows = statement.query_map(rusqlite::params_from_iter(columns), |row| row.get(3))?;
        Ok(rows.collect::<rusqlite::Result<Vec<String>>>()?)
    };
    store.read(explain).await.expect("explained")
}

#[tokio::test]
async fn hot_statements_use_their_indexes() {
    let (store, _dir) = fresh();
    let waiting = "SEARCH batch_entries USING INDEX batch_entries_waiting \
                   (batch_id=? AND not_before<?)";
    assert_eq!(plan(&store, entries::DUE).await, [waiting], "the claim neither scans nor sorts");
    let deadlines = plan(&store, entries::DUE_DEADLINES).await;
    assert_eq!(deadlines.len(), 2, "no sorting: {deadlines:?}");
    assert_eq!(deadlines[0], "SEARCH e USING INDEX batch_entries_under_way (deadline<?)");
    let call = "SEARCH c USING PRIMARY KEY (batch_id=? AND seq=? AND attempt=?)";
    assert_eq!(deadlines[1], call);
    let next = "SEARCH batch_entries USING COVERING INDEX batch_entries_under_way (deadline>?)";
    assert_eq!(plan(&store, entries::NEXT_DEADLINE).await, [next]);
    let next = "SEARCH outbox USING COVERING INDEX outbox_due (lane=? AND due_at>?)";
    assert_eq!(plan(&store, outbox::NEXT).await, [next]);
    let next = plan(&store, batches::NEXT_WAITING).await;
    let covering =
        "SEARCH e USING COVERING INDEX batch_entries_waiting (batch_id=? AND not_before>?)";
    assert!(next.iter().any(|line| line == covering), "{next:?}");
}

#[tokio::test]
async fn no_statement_scans_a_table() {
    let (store, _dir) = fresh();
    let statements = [
        entries::DUE,
        entries::DUE_DEADLINES,
        entries::NEXT_DEADLINE,
        entries::PAGE,
        entries::CALL,
        events::AFTER,
        events::OF_ENTRY,
        batches::ONE,
        batches::OF_TENANT,
        batches::OF_TENANT_IN,
        entries::FIND,
        batches::IN_STATES,
        batches::DUE,
        numbers::FREE,
        batches::NEXT_WAITING,
        outbox::DUE,
        outbox::NEXT,
    ];
    for sql in statements {
        for line in plan(&store, sql).await {
            let scans = line.starts_with("SCAN") && !line.contains("json_each");
            assert!(!scans, "{line} in {sql}");
        }
    }
}

#[tokio::test]
async fn sql_asks_the_clock_for_the_time() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let origin = Timestamp::from_micros(1_000_000);
    let scaled: Arc<dyn Clock> =
        Arc::new(ScaledClock::new(Timeline { scale: TimeScale::MAX, origin }));
    let store = SqliteStore::open(dir.path(), Arc::clone(&scaled)).expect("opened");
    let before = scaled.now().as_micros();
    let ask = |c: &Connection| Ok(c.query_row("SELECT dt_now()", [], |row| row.get::<_, i64>(0))?);
    let now = store.read(ask).await.expect("read");
    assert!((before..=scaled.now().as_micros()).contains(&now));
    let ask = move |c: &Connection| ask(c).map(Written::quietly);
    let now = store.write(ask).await.expect("read");
    assert!((before..=scaled.now().as_micros()).contains(&now));
}

fn add_tenant(c: &Connection, name: &str) -> crate::convert::Result<Written<()>> {
    c.execute("INSERT INTO tenants (tenant_id, created_at) VALUES (?1, dt_now())", [name])?;
    Ok(Written::quietly(()))
}

async fn tenants(store: &SqliteStore) -> Vec<String> {
    let read = |c: &Connection| {
        let mut statement = c.prepare("SELECT tenant_id FROM tenants ORDER BY tenant_id")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<Vec<String>>>()?)
    };
    store.read(read).await.expect("read")
}

type Answer = tokio::task::JoinHandle<Result<(), StoreError>>;

/// Holds the writer until told to go on, so that what comes meanwhile is one group.
async fn hold(store: &Arc<SqliteStore>) -> (mpsc::Sender<()>, Answer) {
    let (go, gate) = mpsc::channel::<()>();
    let (held, holding) = tokio::sync::oneshot::channel();
    let writer = Arc::clone(store);
    let answer = tokio::spawn(async move {
        let wait = move |_: &Connection| {
            let _ = held.send(());
            let _ = gate.recv();
            Ok(Written::quietly(()))
        };
        writer.write(wait).await
    });
    holding.await.expect("the writer took it");
    (go, answer)
}

fn spawn(
    store: &Arc<SqliteStore>,
    operation: impl FnOnce(&Connection) -> crate::convert::Result<Written<()>> + Send + 'static,
) -> Answer {
    let store = Arc::clone(store);
    tokio::spawn(async move { store.write(operation).await })
}

/// Until everything that was spawned waits at the writer.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_operation_that_fails_is_rolled_back_alone() {
    let (store, _dir) = fresh();
    let (go, held) = hold(&store).await;
    let good = spawn(&store, |c| add_tenant(c, "good"));
    let bad = spawn(&store, |c| {
        add_tenant(c, "bad")?;
        Err(Fault::Impossible("half done".to_owned()))
    });
    let also_good = spawn(&store, |c| add_tenant(c, "also-good"));
    settle().await;
    go.send(()).expect("held");
    held.await.expect("no panic").expect("written");
    good.await.expect("no panic").expect("written");
    also_good.await.expect("no panic").expect("written");
    let error = bad.await.expect("no panic").expect_err("it failed");
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    assert_eq!(tenants(&store).await, ["also-good", "good"]);
}

#[tokio::test]
async fn a_failed_commit_is_unknown_to_all_that_wait_for_it() {
    let (store, _dir) = fresh();
    let (go, held) = hold(&store).await;
    let innocent = spawn(&store, |c| add_tenant(c, "innocent"));
    let guilty = spawn(&store, |c| {
        // A deferred violation is found by COMMIT and by nothing before it.
        c.pragma_update(None, "defer_foreign_keys", true)?;
        c.execute("INSERT INTO users VALUES ('nobody', 1, 0)", [])?;
        Ok(Written::quietly(()))
    });
    settle().await;
    go.send(()).expect("held");
    held.await.expect("no panic").expect("written");
    for answer in [innocent, guilty] {
        let error = answer.await.expect("no panic").expect_err("the commit failed");
        assert!(matches!(error, StoreError::Unknown(_)), "{error}");
    }
    assert_eq!(tenants(&store).await, [""; 0]);
    store.seed_demo().await.expect("the writer goes on");
    assert_eq!(tenants(&store).await, ["demo"]);
}

#[tokio::test]
async fn a_full_database_says_so_and_keeps_what_it_has() {
    let (store, dir) = fresh();
    store.seed_demo().await.expect("seeded");
    let limit = |pages: i64| {
        move |c: &Connection| {
            let now: i64 = c.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            c.pragma_update_and_check(None, "max_page_count", now + pages, |_| Ok(()))?;
            Ok(Written::quietly(()))
        }
    };
    store.write(limit(4)).await.expect("limited");
    let (go, held) = hold(&store).await;
    let small = spawn(&store, |c| add_tenant(c, "small"));
    let large = spawn(&store, |c| add_tenant(c, &"x".repeat(1 << 20)));
    let after = spawn(&store, |c| add_tenant(c, "after"));
    settle().await;
    go.send(()).expect("held");
    held.await.expect("no panic").expect("written");
    let mut expected = vec!["demo".to_owned()];
    let error = large.await.expect("no panic").expect_err("there is no room");
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    for (name, answer) in [("after", after), ("small", small)] {
        // SQLite may roll back what stood in the transaction before; then it says so.
        match answer.await.expect("no panic") {
            Ok(()) => expected.push(name.to_owned()),
            Err(error) => assert!(matches!(error, StoreError::Full(_)), "{error}"),
        }
    }
    expected.sort();
    assert_eq!(tenants(&store).await, expected, "what was answered is what is there");
    store.write(limit(10_000)).await.expect("there is room again");
    store.write(|c| add_tenant(c, "roomy")).await.expect("written");
    drop(store);
    check_file(dir.path());
}

fn check_file(dir: &Path) {
    let connection = Connection::open(dir.join(crate::DB_FILE)).expect("opened");
    let check = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    let verdict = connection.query_row("PRAGMA integrity_check", [], check).expect("checked");
    assert_eq!(verdict, "ok");
    let broken = connection.prepare("PRAGMA foreign_key_check").expect("prepared").exists([]);
    assert!(!broken.expect("checked"), "a row points at nothing");
}

#[tokio::test]
async fn a_closed_store_does_what_waits_and_refuses_the_rest() {
    let (store, dir) = fresh();
    let (go, held) = hold(&store).await;
    let waiting = spawn(&store, |c| add_tenant(c, "waiting"));
    settle().await;
    let closing = Arc::clone(&store);
    let closing = tokio::spawn(async move { closing.close().await });
    settle().await;
    go.send(()).expect("held");
    held.await.expect("no panic").expect("written");
    waiting.await.expect("no panic").expect("written before the end");
    closing.await.expect("no panic");
    let error = store.seed_demo().await.expect_err("closed");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    let error = store
        .batches(&TenantId::new("demo"), &BatchFilter::default(), 1)
        .await
        .expect_err("closed");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    let wal = dir.path().join(format!("{}-wal", crate::DB_FILE));
    assert!(!wal.exists(), "the log is folded into the file");
    store.close().await;
    drop(store);
    let again = SqliteStore::open(dir.path(), clock()).expect("opened again");
    assert_eq!(tenants(&again).await, ["waiting"]);
}

#[tokio::test]
async fn a_panic_in_an_operation_is_not_silent() {
    let (store, _dir) = fresh();
    let answer = store.write::<()>(|_| panic!("a bug")).await;
    assert!(matches!(answer, Err(StoreError::Unknown(_))), "{answer:?}");
    // While the thread is still ending, an operation may yet reach it, and is unknown too.
    let answer = store.seed_demo().await;
    let silent = !matches!(answer, Err(StoreError::Unavailable(_) | StoreError::Unknown(_)));
    assert!(!silent, "{answer:?}");
}
