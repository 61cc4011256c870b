//! What only the inside can show: query plans, the order of locks, the clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use dialtone_clock::{Clock as _, ScaledClock, TimeScale, Timeline, Timestamp};
use dialtone_contract::TenantId;
use dialtone_store::{BatchFilter, BatchStore as _, Directory as _};

use crate::PostgresStore;
use crate::session::Session;
use crate::sql::{
    apply, batches, calls, claim, counters, entries, events, numbers, outbox, suppressions,
};
use crate::support;

/// Rows as a database has them that has been in use: many ended batches, a few that run, each
/// with most of its entries behind it.
const FILL: &str = "
    INSERT INTO voice_call_batches (tenant_id, batch_id, spec, state, created_at)
    SELECT 't' || b % 7, 'bat_' || b, '{}', CASE WHEN b > 395 THEN 'running' ELSE 'completed' END, b
    FROM generate_series(1, 400) AS b;
    INSERT INTO batch_entries (tenant_id, batch_id, seq, phone, number_key, state, attempt,
                               not_before, deadline)
    SELECT 't' || b % 7, 'bat_' || b, s, '+1555000' || s,
           decode(lpad(to_hex(b * 1000 + s), 32, '0'), 'hex'), 'x', 1,
           CASE WHEN b > 395 AND s > 60 THEN s END, CASE WHEN b > 395 AND s < 10 THEN s END
    FROM generate_series(1, 400) AS b, generate_series(1, 100) AS s;
    INSERT INTO call_logs (tenant_id, batch_id, seq, attempt, status, leased_at)
    SELECT tenant_id, batch_id, seq, 1, 'ended', 1 FROM batch_entries;
    INSERT INTO call_events (tenant_id, batch_id, event_seq, type, seq, from_state, to_state, at)
    SELECT tenant_id, batch_id, seq, 'x', seq, 'x', 'x', 1 FROM batch_entries;
    INSERT INTO batch_counters (tenant_id, batch_id, state, outcome, n)
    SELECT tenant_id, batch_id, 's' || n, '', n FROM voice_call_batches, generate_series(1, 8) AS n;
    INSERT INTO outbox (tenant_id, lane, item, due_at)
    SELECT tenant_id, CASE WHEN seq % 2 = 0 THEN 'livekit' ELSE 'webhook' END, '{}', seq
    FROM batch_entries WHERE seq < 20;
    INSERT INTO numbers (tenant_id, number_key, batch_id, seq, free_at)
    SELECT tenant_id, number_key, CASE WHEN seq % 2 = 0 THEN batch_id END, seq,
           CASE WHEN seq % 2 = 1 THEN seq END
    FROM batch_entries WHERE seq < 30;
    INSERT INTO suppressions (tenant_id, number_key, source, created_at)
    SELECT tenant_id, number_key, 'x', 1 FROM batch_entries WHERE seq < 30;";

/// The plan that the session has for a statement of so many parameters.
async fn plan(session: &Session, sql: &str) -> Vec<String> {
    let parameters = (1..99).take_while(|n| sql.contains(&format!("${n}"))).count();
    let nothing = vec!["NULL"; parameters].join(", ");
    let call = if parameters == 0 { String::new() } else { format!("({nothing})") };
    session.script(&format!("PREPARE explained AS {sql}")).await.expect("prepared");
    let explain: &'static str =
        Box::leak(format!("EXPLAIN (COSTS OFF) EXECUTE explained{call}").into_boxed_str());
    let rows = session.ask(explain, &[]).await.expect("explained");
    session.script("DEALLOCATE explained").await.expect("forgotten");
    rows.iter().map(|row| row.get(0)).collect()
}

/// Lines that walk through a whole table, or sort to claim.
fn wrong<'a>(plan: &'a [String], scans: &[&str]) -> Vec<&'a String> {
    plan.iter().filter(|line| scans.iter().any(|scan| line.contains(scan))).collect()
}

/// Ways to look at every row of a table.
const SCANS: &[&str] =
    &["Seq Scan", "Bitmap Heap Scan", "Index Only Scan using voice_call_batches_pkey"];

async fn filled(statistics: bool) -> Option<(PostgresStore, Arc<support::Shared>)> {
    let (store, _, cluster) = support::store("plans").await?;
    let session = store.read().await.expect("a session");
    session.script(FILL).await.expect("filled");
    if statistics {
        session.script("ANALYZE").await.expect("analysed");
    }
    drop(session);
    Some((store, cluster))
}

#[tokio::test]
async fn a_claim_neither_scans_nor_sorts() {
    // With statistics of these rows, and with those of a table that was empty when it was seen.
    for statistics in [true, false] {
        let Some((store, _cluster)) = filled(statistics).await else { return };
        let session = store.read().await.expect("a session");
        let found = plan(&session, entries::DUE).await;
        let index = "Index Scan using batch_entries_waiting on batch_entries e";
        assert!(found.iter().any(|line| line.contains(index)), "{found:#?}");
        let by = found.iter().find(|line| line.contains("Index Cond")).expect("a condition");
        for column in ["batch_id", "not_before <=", "ROW(not_before, seq)"] {
            assert!(by.contains(column), "{column} is not looked up: {found:#?}");
        }
        assert_eq!(wrong(&found, &["Sort", "Seq Scan", "Bitmap"]), Vec::<&String>::new());
        // A plan that scans is seen: without its index the claim has no other.
        session.script("DROP INDEX batch_entries_waiting").await.expect("dropped");
        let found = plan(&session, entries::DUE).await;
        assert_ne!(wrong(&found, &["Sort", "Seq Scan"]), Vec::<&String>::new(), "{found:#?}");
    }
}

#[tokio::test]
async fn no_statement_scans_a_table() {
    for statistics in [true, false] {
        let Some((store, _cluster)) = filled(statistics).await else { return };
        let session = store.read().await.expect("a session");
        let statements: BTreeMap<&str, &str> = [
            ("entries::CALL", entries::CALL),
            ("entries::DUE_DEADLINES", entries::DUE_DEADLINES),
            ("entries::NEXT_DEADLINE", entries::NEXT_DEADLINE),
            ("entries::FIND", entries::FIND),
            ("entries::WAITING", entries::WAITING),
            ("entries::UNDER_WAY", entries::UNDER_WAY),
            ("entries::MOVE", entries::MOVE),
            ("entries::LEASE", entries::LEASE),
            ("calls::BEGIN", calls::BEGIN),
            ("calls::PATCH", calls::PATCH),
            ("calls::REMOVE", calls::REMOVE),
            ("batches::ONE", batches::ONE),
            ("batches::OF_TENANT", batches::OF_TENANT),
            ("batches::OF_TENANT_IN", batches::OF_TENANT_IN),
            ("batches::IN_STATES", batches::IN_STATES),
            ("batches::DUE", batches::DUE),
            ("batches::NEXT_WAITING", batches::NEXT_WAITING),
            ("batches::HOLD", batches::HOLD),
            ("batches::MOVE", batches::MOVE),
            ("batches::FIGURES", batches::FIGURES),
            ("counters::IN_FLIGHT", counters::IN_FLIGHT),
            ("counters::IN_FLIGHT_OF_TENANT", counters::IN_FLIGHT_OF_TENANT),
            ("counters::COUNT", counters::COUNT),
            ("events::AFTER", events::AFTER),
            ("events::OF_ENTRY", events::OF_ENTRY),
            ("numbers::FREE_AT", numbers::FREE_AT),
            ("numbers::RELEASE", numbers::RELEASE),
            ("numbers::FORGET", numbers::FORGET),
            ("outbox::HAND_OUT", outbox::HAND_OUT),
            ("outbox::NEXT", outbox::NEXT),
            ("suppressions::ANY", suppressions::ANY),
        ]
        .into();
        for (name, sql) in statements {
            let found = plan(&session, sql).await;
            assert_eq!(wrong(&found, SCANS), Vec::<&String>::new(), "{name}: {found:#?}");
        }
    }
}

#[tokio::test]
async fn what_is_sent_together_is_prepared_before() {
    let Some((store, _place, _cluster)) = support::store("prepared").await else { return };
    let session = store.read().await.expect("a session");
    for sql in apply::STATEMENTS.iter().chain(claim::STATEMENTS) {
        session.statement(sql).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
    }
}

#[tokio::test]
async fn sql_asks_the_clock_for_the_time() {
    let Some(cluster) = support::shared("clock") else { return };
    let origin = Timestamp::from_micros(1_000_000);
    let clock = Arc::new(ScaledClock::new(Timeline { scale: TimeScale::MAX, origin }));
    let place = support::place(&cluster);
    let store = PostgresStore::open(&place, clock.clone()).await.expect("opened");
    let session = store.read().await.expect("a session");
    let before = clock.now();
    let row = session.ask_one("SELECT dt_now()", &[]).await.expect("read").expect("a row");
    let now = Timestamp::from_micros(row.get(0));
    // Told a moment before it was noted: it may lag by that moment, and never leads.
    let lag = TimeScale::MAX.product(std::time::Duration::from_secs(5));
    assert!(now <= clock.now() && before.since(now) < lag, "{now} after {before}");
}

/// Sessions that are lost are made again, without a restart and without a word to callers that
/// come later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_connections_are_made_again() {
    let Some((store, _place, _cluster)) = support::store("lost").await else { return };
    store.seed_demo().await.expect("seeded");
    let demo = TenantId::new("demo");
    for _ in 0..3 {
        let other = store.read().await.expect("a session");
        let ended = other.script("SELECT pg_terminate_backend(pg_backend_pid())").await;
        assert!(ended.is_err(), "the session was ended");
        drop(other);
        assert!(store.has_voice(&demo, "demo").await.expect("a new session"));
        let listed = store.batches(&demo, &BatchFilter::default(), 1).await.expect("read");
        assert_eq!(listed, []);
    }
}
