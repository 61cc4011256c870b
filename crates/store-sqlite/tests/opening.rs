//! Opening a data directory: what is refused, and that refusals touch nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use dialtone_clock::{ScaledClock, Timeline};
use dialtone_contract::TenantId;
use dialtone_store::{Access as _, BatchStore, Directory, StoreError};
use dialtone_store_sqlite::{DB_FILE, LOCK_FILE, OpenError, SqliteStore};
use rusqlite::Connection;

fn open(dir: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(dir, Arc::new(ScaledClock::new(Timeline::REAL)))
}

fn refused(dir: &Path) -> OpenError {
    open(dir).err().expect("refused")
}

/// Says where and what to do next.
fn helps(error: &OpenError, dir: &Path) {
    let text = error.to_string();
    assert!(text.contains(&dir.display().to_string()), "no place in: {text}");
    assert!(text.contains(';'), "no next step in: {text}");
}

#[tokio::test]
async fn a_second_owner_is_refused_with_the_first_ones_pid() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let first = open(dir.path()).expect("opened");
    let error = refused(dir.path());
    let own = std::process::id();
    assert!(matches!(error, OpenError::Busy { pid: Some(pid), .. } if pid == own), "{error}");
    assert!(error.to_string().contains(&own.to_string()));
    helps(&error, dir.path());
    first.seed_demo().await.expect("the first goes on");
    let reader = SqliteStore::open_read_only(dir.path()).expect("looking is allowed");
    let demo = TenantId::new("demo");
    assert!(reader.has_voice(&demo, "demo").await.expect("read"));
    let error = reader.seed_demo().await.expect_err("looking is all");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    drop(first);
    let later = SqliteStore::open_read_only(dir.path()).expect("and with no server running");
    assert!(later.has_user(&demo, 1).await.expect("read"));
    assert!(reader.has_voice(&demo, "demo").await.expect("read"), "with no server running");
    let again = open(dir.path()).expect("the lock went with its owner");
    assert!(again.has_user(&demo, 1).await.expect("read"), "the rows did not");
}

#[tokio::test]
async fn small_changes_are_made_beside_the_owner() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let beside =
        || SqliteStore::open_beside(dir.path(), Arc::new(ScaledClock::new(Timeline::REAL)));
    let acme = TenantId::new("acme");
    assert!(beside().expect("opened").add_tenant(&acme).await.expect("with no owner"));
    let owner = open(dir.path()).expect("opened");
    let second = beside().expect("opened");
    for n in 0..50 {
        let voice = format!("v{n}");
        let (added, epoch) = tokio::join!(second.add_voice(&acme, &voice), owner.next_epoch());
        assert!(added.expect("added"), "{voice}");
        epoch.expect("the owner goes on");
        assert!(owner.has_voice(&acme, &voice).await.expect("read"), "{voice}");
    }
    second.close().await;
    owner.next_epoch().await.expect("the owner goes on");
}

#[tokio::test]
async fn what_it_makes_is_the_owners_alone() {
    let outer = tempfile::tempdir().expect("a temporary directory");
    let dir = outer.path().join("deep/data");
    let store = open(&dir).expect("opened");
    store.seed_demo().await.expect("seeded");
    let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join(DB_FILE)), 0o600);
    assert_eq!(mode(&dir.join(format!("{DB_FILE}-wal"))), 0o600);
    let owner = std::fs::read_to_string(dir.join(LOCK_FILE)).expect("read");
    assert_eq!(owner.trim(), std::process::id().to_string());
}

#[test]
fn an_unusable_directory_is_refused() {
    let outer = tempfile::tempdir().expect("a temporary directory");
    let file = outer.path().join("file");
    std::fs::write(&file, "not a directory").expect("written");
    // Permission bits do not bind root, so places that nobody can write stand in.
    for dir in [file.clone(), file.join("below"), Path::new("/proc/dialtone").to_owned()] {
        let error = refused(&dir);
        assert!(matches!(error, OpenError::Directory { .. }), "{error}");
        helps(&error, &dir);
    }
    let error = SqliteStore::open_read_only(outer.path()).err().expect("refused");
    assert!(matches!(error, OpenError::Missing { .. }), "{error}");
    helps(&error, outer.path());
}

#[test]
fn a_file_that_is_no_database_is_refused_untouched() {
    let damaged = [b"SQLite format 3\0".as_slice(), &[0xa5; 5000]].concat();
    for bytes in [b"hello, world".to_vec(), vec![0x5a; 9000], damaged, vec![0; 200]] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join(DB_FILE);
        std::fs::write(&path, &bytes).expect("written");
        let error = refused(dir.path());
        let corrupt = matches!(error, OpenError::Corrupt { .. } | OpenError::Foreign { .. });
        assert!(corrupt, "{error:?}");
        helps(&error, dir.path());
        assert!(SqliteStore::open_read_only(dir.path()).is_err());
        assert_eq!(std::fs::read(&path).expect("read"), bytes, "it was touched");
    }
}

#[tokio::test]
async fn damage_inside_is_corrupt_and_not_a_wrong_answer() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join(DB_FILE);
    open(dir.path()).expect("opened").seed_demo().await.expect("seeded");
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[4096..].fill(0xa5);
    std::fs::write(&path, &bytes).expect("written");
    match open(dir.path()) {
        Err(error) => assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}"),
        Ok(store) => {
            let answer = store.has_voice(&TenantId::new("demo"), "demo").await;
            assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
            let answer = store.next_epoch().await;
            assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
        }
    }
}

#[test]
fn a_newer_schema_is_refused_untouched() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join(DB_FILE);
    drop(open(dir.path()).expect("opened"));
    let connection = Connection::open(&path).expect("opened");
    connection.pragma_update(None, "user_version", 99).expect("set");
    connection.close().expect("closed");
    let before = std::fs::read(&path).expect("read");
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error:?}");
    helps(&error, dir.path());
    let error = SqliteStore::open_read_only(dir.path()).err().expect("refused");
    assert!(matches!(error, OpenError::Newer { .. }), "{error:?}");
    assert_eq!(std::fs::read(&path).expect("read"), before, "it was touched");
}

#[test]
fn another_programs_database_is_refused_untouched() {
    for (application, version) in [(0x1234, 1), (0x1234, 0), (0, 1), (0, 0)] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join(DB_FILE);
        let connection = Connection::open(&path).expect("opened");
        connection.execute_batch("CREATE TABLE theirs (x)").expect("made");
        connection.pragma_update(None, "application_id", application).expect("set");
        connection.pragma_update(None, "user_version", version).expect("set");
        connection.close().expect("closed");
        let before = std::fs::read(&path).expect("read");
        let error = refused(dir.path());
        assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
        helps(&error, dir.path());
        assert_eq!(std::fs::read(&path).expect("read"), before, "it was touched");
    }
}

#[tokio::test]
async fn opening_again_migrates_nothing_and_epochs_go_on() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut last = 0;
    for _ in 0..3 {
        let store = open(dir.path()).expect("opened");
        let epoch = store.next_epoch().await.expect("given");
        assert!(epoch > last, "an epoch was given again after a restart");
        last = epoch;
        store.close().await;
    }
}
