//! The one writer: a thread that owns the writing connection and commits in groups.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dialtone_store::{Applied, Change, StoreError};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use crate::applies::{self, Changes};
use crate::convert::{self, Result};

/// Operations that may wait; callers beyond that wait for a place.
const QUEUE: usize = 4096;
/// Operations in one transaction at most, so that the first of them does not wait long.
const GROUP: usize = 512;

/// What an operation wrote.
pub(crate) struct Written<T> {
    pub(crate) answer: T,
    /// Whether someone who waits for work should look.
    pub(crate) made_work: bool,
}

impl<T> Written<T> {
    /// A write that makes no work for anyone.
    pub(crate) fn quietly(answer: T) -> Self {
        Self { answer, made_work: false }
    }
}

/// How a transaction ended, for each operation in it.
#[derive(Clone)]
pub(crate) enum Commit {
    Done,
    /// Nobody knows.
    Unknown(Arc<str>),
    /// Nothing of it was written.
    Undone {
        full: bool,
        why: Arc<str>,
    },
}

impl Commit {
    fn undone(error: &rusqlite::Error) -> Self {
        let full = matches!(convert::store_error(error), StoreError::Full(_));
        Self::Undone { full, why: error.to_string().into() }
    }

    pub(crate) fn result(self) -> std::result::Result<(), StoreError> {
        match self {
            Self::Done => Ok(()),
            Self::Unknown(why) => Err(StoreError::Unknown(why.to_string())),
            Self::Undone { full: true, why } => Err(StoreError::Full(why.to_string())),
            Self::Undone { full: false, why } => Err(StoreError::Unavailable(why.to_string())),
        }
    }
}

/// An operation that ran, with its caller still waiting.
pub(crate) struct Ran {
    pub(crate) failed: Option<bool>,
    pub(crate) made_work: bool,
    pub(crate) answer: Box<dyn FnOnce(Commit) + Send>,
}

/// An operation; given no connection, it answers its caller why.
pub(crate) type Operation = Box<dyn FnOnce(std::result::Result<&Connection, Commit>) -> Ran + Send>;

enum Job {
    Run(Operation),
    Apply(Changes),
    Stop,
}

/// What goes into one transaction. All of it waited at the same time, so nobody can tell
/// in which order it was asked for.
#[derive(Default)]
struct Group {
    /// Made as one, before everything else: what fails then undoes nothing but them.
    changes: Vec<Changes>,
    /// Each in a savepoint of its own.
    operations: Vec<Operation>,
}

pub(crate) struct Writer {
    /// None once the store is being dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    slowest: Arc<Slowest>,
}

/// The longest commit so far, in microseconds: how slow the disk has been.
#[derive(Default)]
struct Slowest(AtomicU64);

impl Slowest {
    fn note(&self, commit: Duration) {
        let micros = u64::try_from(commit.as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_max(micros, Ordering::Relaxed);
    }
}

impl Writer {
    pub(crate) fn start(
        connection: Connection,
        changes: Arc<watch::Sender<u64>>,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let slowest = Arc::new(Slowest::default());
        let noted = Arc::clone(&slowest);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || work(connection, queue, &changes, &noted))?;
        Ok(Self { jobs: Some(jobs), thread: Mutex::new(Some(thread)), slowest })
    }

    /// Wall time of the longest commit so far.
    pub(crate) fn slowest_commit(&self) -> Duration {
        Duration::from_micros(self.slowest.0.load(Ordering::Relaxed))
    }

    /// Runs `operation` in the next transaction and answers after its commit.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<Written<T>> + Send + 'static,
    ) -> std::result::Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Run(boxed(operation, answer)), answered).await
    }

    /// Makes changes in the next transaction and answers after its commit.
    pub(crate) async fn apply(
        &self,
        changes: Arc<[Change]>,
    ) -> std::result::Result<Vec<Applied>, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Apply(Changes::new(changes, answer)), answered).await
    }

    async fn send<T>(
        &self,
        job: Job,
        answered: oneshot::Receiver<std::result::Result<T, StoreError>>,
    ) -> std::result::Result<T, StoreError> {
        let closed = || StoreError::Unavailable("the store is closed".to_owned());
        let jobs = self.jobs.as_ref().ok_or_else(closed)?;
        jobs.send(job).await.map_err(|_| closed())?;
        match answered.await {
            Ok(result) => result,
            // The thread ended with the operation in its hands.
            Err(_) => Err(StoreError::Unknown("the writer ended".to_owned())),
        }
    }

    /// Asks the thread to end once it has done what already waits.
    pub(crate) async fn stop(&self) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Job::Stop).await;
        }
    }

    /// As [`Self::stop`], where nobody can wait for a place in the queue.
    pub(crate) fn hang_up(&mut self) {
        self.jobs = None;
    }

    /// The thread, to be joined by whoever ends the store.
    pub(crate) fn thread(&self) -> Option<JoinHandle<()>> {
        self.thread.lock().ok().and_then(|mut thread| thread.take())
    }
}

pub(crate) fn boxed<T: Send + 'static>(
    operation: impl FnOnce(&Connection) -> Result<Written<T>> + Send + 'static,
    answer: oneshot::Sender<std::result::Result<T, StoreError>>,
) -> Operation {
    // A caller that no longer waits does not undo what it asked for.
    Box::new(move |connection| match connection.map(operation) {
        Ok(Ok(Written { answer: value, made_work })) => Ran {
            failed: None,
            made_work,
            answer: Box::new(move |commit| {
                let _ = answer.send(commit.result().map(|()| value));
            }),
        },
        Ok(Err(fault)) => {
            let error = StoreError::from(fault);
            Ran {
                failed: Some(matches!(error, StoreError::Full(_))),
                made_work: false,
                answer: Box::new(move |_| {
                    let _ = answer.send(Err(error));
                }),
            }
        }
        Err(refused) => Ran {
            failed: Some(false),
            made_work: false,
            answer: Box::new(move |_| {
                let _ = answer.send(refused.result().map(|()| unreachable!("refused")));
            }),
        },
    })
}

fn work(
    connection: Connection,
    mut queue: mpsc::Receiver<Job>,
    changes: &watch::Sender<u64>,
    slowest: &Slowest,
) {
    let mut group = Group::default();
    let mut stop = false;
    while !stop {
        let Some(first) = queue.blocking_recv() else { break };
        let (mut next, mut waiting) = (Some(first), 0);
        while let Some(job) = next {
            waiting += 1;
            match job {
                Job::Run(operation) => group.operations.push(operation),
                Job::Apply(changes) => group.changes.push(changes),
                Job::Stop => stop = true,
            }
            next = (waiting < GROUP && !stop).then(|| queue.try_recv().ok()).flatten();
        }
        if commit_group(&connection, std::mem::take(&mut group), slowest) {
            changes.send_modify(|n| *n += 1);
        }
    }
    // Operations that came after the request to stop: none of them ran.
    queue.close();
    while let Ok(job) = queue.try_recv() {
        let operation = match job {
            Job::Run(operation) => operation,
            Job::Apply(changes) => changes.alone(),
            Job::Stop => continue,
        };
        let refused = Commit::Undone { full: false, why: "the store is closed".into() };
        (operation(Err(refused.clone())).answer)(refused);
    }
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "the database was not closed cleanly; its log is kept");
    }
}

/// Runs the operations in one transaction (in more only where SQLite itself has rolled
/// one back) and answers all of them. Whether any that was committed made work.
fn commit_group(connection: &Connection, group: Group, slowest: &Slowest) -> bool {
    let mut made_work = false;
    let mut open: Vec<Ran> = Vec::new();
    if !group.changes.is_empty() {
        run_many(connection, group.changes, &mut open);
    }
    for operation in group.operations {
        run(connection, operation, &mut open);
    }
    if connection.is_autocommit() {
        return false;
    }
    let begun = Instant::now();
    let committed = connection.prepare_cached("COMMIT").and_then(|mut s| s.execute([]));
    slowest.note(begun.elapsed());
    let end = match committed {
        Ok(_) => {
            made_work = open.iter().any(|ran| ran.made_work);
            Commit::Done
        }
        Err(error) => end_failed(connection, &error),
    };
    finish(&mut open, &end);
    made_work
}

/// What a commit that failed means for those who wait for it.
fn end_failed(connection: &Connection, error: &rusqlite::Error) -> Commit {
    let undone = Commit::undone(error);
    let rolled_back = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
    // A disk is full when a frame of the log cannot be written. The frame that makes the
    // transaction is the last of them, so without one of them there is no transaction.
    if rolled_back && matches!(undone, Commit::Undone { full: true, .. }) {
        tracing::error!(%error, "a commit failed; nothing of it was written");
        return undone;
    }
    tracing::error!(%error, "a commit failed; its outcome is unknown");
    Commit::Unknown(error.to_string().into())
}

/// Runs one operation in the open transaction, or in a new one.
fn run(connection: &Connection, operation: Operation, open: &mut Vec<Ran>) {
    if connection.is_autocommit()
        && let Err(error) = begin(connection)
    {
        let refused = Commit::undone(&error);
        return (operation(Err(refused.clone())).answer)(refused);
    }
    let ran = in_savepoint(connection, operation);
    let full = ran.failed.unwrap_or_default();
    open.push(ran);
    note_rollback(connection, full, open);
}

/// After some errors (no room, broken disk) SQLite rolls back everything.
fn note_rollback(connection: &Connection, full: bool, open: &mut Vec<Ran>) {
    if connection.is_autocommit() {
        let why: Arc<str> = "rolled back because another operation of its group failed".into();
        finish(open, &Commit::Undone { full, why });
    }
}

/// Begins a transaction and makes the changes of many callers in it as one; if that fails,
/// each caller's alone. Without a savepoint: SQLite need not keep what pages held before.
fn run_many(connection: &Connection, callers: Vec<Changes>, open: &mut Vec<Ran>) {
    if callers.len() == 1 || begin(connection).is_err() {
        return callers.into_iter().for_each(|caller| run(connection, caller.alone(), open));
    }
    let callers = match applies::together(connection, callers) {
        Ok(ran) => return open.push(ran),
        Err(callers) => callers,
    };
    if !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    callers.into_iter().for_each(|caller| run(connection, caller.alone(), open));
}

fn begin(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
}

/// Runs one operation; if it fails, what it wrote goes and the rest of the group stays.
fn in_savepoint(connection: &Connection, operation: Operation) -> Ran {
    let run = |sql: &str| connection.prepare_cached(sql)?.execute([]);
    if let Err(error) = run("SAVEPOINT operation") {
        return operation(Err(Commit::undone(&error)));
    }
    let ran = operation(Ok(connection));
    let undo = || run("ROLLBACK TO operation");
    let ended = match ran.failed {
        None => run("RELEASE operation"),
        Some(_) if connection.is_autocommit() => Ok(0),
        Some(_) => undo().and_then(|_| run("RELEASE operation")),
    };
    if let Err(error) = ended {
        // A savepoint that cannot be ended leaves the transaction in doubt: give it up.
        tracing::error!(%error, "a savepoint could not be ended; the group is rolled back");
        let _ = connection.execute_batch("ROLLBACK");
    }
    ran
}

fn finish(ran: &mut Vec<Ran>, end: &Commit) {
    for ran in ran.drain(..) {
        (ran.answer)(end.clone());
    }
}
