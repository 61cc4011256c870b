//! Opening a database: what is refused, that refusals touch nothing, and what they say.

use dialtone_auth::Secret;
use dialtone_contract::TenantId;
use dialtone_store::{Access as _, BatchStore as _, Directory as _, StoreError};
use dialtone_store_postgres::{OpenError, Options, PostgresStore};
use tokio_postgres::NoTls;

use crate::support;

async fn refused(place: &Options) -> OpenError {
    let error = PostgresStore::open(place, support::clock()).await.err().expect("refused");
    let text = error.to_string();
    assert!(text.contains(';') || text.contains('?'), "no next step in: {text}");
    let password = place.url.expose().split(':').nth(2).and_then(|rest| rest.split('@').next());
    assert!(password.is_none_or(|secret| !text.contains(secret)), "a password in: {text}");
    error
}

/// The same place with part of its URL replaced.
fn with(place: &Options, from: &str, to: &str) -> Options {
    let url = place.url.expose();
    assert!(url.contains(from), "nothing to replace");
    Options { url: Secret::new(url.replace(from, to)), schema: place.schema.clone() }
}

async fn run(place: &Options, sql: &str) {
    let (client, connection) =
        tokio_postgres::connect(place.url.expose(), NoTls).await.expect("connected");
    let driver = tokio::spawn(connection);
    client.batch_execute(sql).await.expect("done");
    drop(client);
    driver.await.expect("no panic").expect("closed");
}

/// Everything that the schema holds, as one text.
async fn schema(place: &Options) -> String {
    let (client, connection) =
        tokio_postgres::connect(place.url.expose(), NoTls).await.expect("connected");
    tokio::spawn(connection);
    let sql = "SELECT coalesce(string_agg(concat(table_name, ' ', column_name), ',' ORDER BY
                      table_name, column_name), '') FROM information_schema.columns
               WHERE table_schema = $1";
    let row = client.query_one(sql, &[&place.schema]).await.expect("read");
    row.get(0)
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let Some(cluster) = support::shared("opening") else { return };
    let place = support::place(&cluster);
    let error = refused(&with(&place, "/postgres", "/nowhere")).await;
    assert!(matches!(&error, OpenError::NoDatabase { database, .. } if database == "nowhere"));
    let error = refused(&with(&place, "dialtone-pg", "dialtone-none")).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    let error = refused(&with(&place, "dialtone:", "dialtone:wrong")).await;
    assert!(matches!(error, OpenError::Refused { .. }), "{error}");
    let error = refused(&with(&place, "dialtone:", "stranger:")).await;
    assert!(matches!(error, OpenError::Refused { .. }), "{error}");
    let error = PostgresStore::open_read_only(&place).await.err().expect("refused");
    assert!(matches!(error, OpenError::Missing { .. }), "{error}");
    assert_eq!(schema(&place).await, "", "it was touched");
}

#[tokio::test]
async fn another_programs_tables_are_left_alone() {
    let Some(cluster) = support::shared("opening") else { return };
    let place = support::place(&cluster);
    let (name, table) = (&place.schema, "CREATE TABLE");
    run(&place, &format!("CREATE SCHEMA {name}; {table} {name}.theirs (x int)")).await;
    let error = refused(&place).await;
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert_eq!(schema(&place).await, "theirs x", "it was touched");
}

#[tokio::test]
async fn a_newer_schema_is_refused_untouched_and_an_older_one_is_for_servers() {
    let Some((store, place, _cluster)) = support::store("opening").await else { return };
    store.seed_demo().await.expect("seeded");
    store.close().await;
    let before = schema(&place).await;
    let version = |to: &str| {
        let name = &place.schema;
        format!("UPDATE {name}.dialtone_meta SET value = {to} WHERE name = 'schema_version'")
    };
    run(&place, &version("value + 98")).await;
    for error in
        [refused(&place).await, PostgresStore::open_read_only(&place).await.err().expect("refused")]
    {
        assert!(matches!(error, OpenError::Newer { .. }), "{error}");
    }
    assert_eq!(schema(&place).await, before, "it was touched");
    run(&place, &version("value - 99")).await;
    let error = PostgresStore::open_read_only(&place).await.err().expect("refused");
    assert!(matches!(error, OpenError::Older { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_servers_that_start_at_once_make_one_schema() {
    let Some(cluster) = support::shared("opening") else { return };
    let place = support::place(&cluster);
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let place = place.clone();
            tokio::spawn(async move {
                let store = PostgresStore::open(&place, support::clock()).await.expect("opened");
                (store.next_epoch().await.expect("given"), store)
            })
        })
        .collect();
    let mut epochs = Vec::new();
    for start in starts {
        let (epoch, store) = start.await.expect("no panic");
        assert!(store.agree_on("secret", 7).await.expect("asked"));
        assert!(!store.agree_on("secret", 8).await.expect("asked"), "the first word stays");
        epochs.push(epoch);
    }
    epochs.sort_unstable();
    assert_eq!(epochs, (1..=8).collect::<Vec<u64>>(), "an epoch was given twice");
}

#[tokio::test]
async fn a_look_writes_nothing() {
    let Some((store, place, _cluster)) = support::store("opening").await else { return };
    store.seed_demo().await.expect("seeded");
    let look = PostgresStore::open_read_only(&place).await.expect("opened");
    assert!(look.has_user(&TenantId::new("demo"), 1).await.expect("read"));
    for error in [
        look.seed_demo().await.expect_err("refused"),
        look.next_epoch().await.expect_err("refused"),
        look.apply(&[])
            .await
            .map_or_else(|error| error, |_| StoreError::Unavailable(String::new())),
    ] {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    }
}

#[tokio::test]
async fn servers_hear_of_each_others_work() {
    let Some((first, place, _cluster)) = support::store("opening").await else { return };
    let second = PostgresStore::open(&place, support::clock()).await.expect("opened");
    first.seed_demo().await.expect("seeded");
    let mut changes = second.changes();
    changes.mark_unchanged();
    first.set_max_concurrent(&TenantId::new("demo"), Some(3)).await.expect("set");
    let heard = tokio::time::timeout(std::time::Duration::from_secs(5), changes.changed()).await;
    heard.expect("it is heard").expect("the store lives");
    assert!(second.tenants().await.expect("read").contains(&TenantId::new("demo")));
}

#[tokio::test]
async fn a_closed_store_refuses() {
    let Some((store, _place, _cluster)) = support::store("opening").await else { return };
    store.close().await;
    let error = store.seed_demo().await.expect_err("closed");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    let error = store.has_user(&TenantId::new("demo"), 1).await.expect_err("closed");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
}
