//! Group commit: changes of many callers in one transaction.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dialtone_store::{Applied, Change, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::fault::{Ended, Failed, Fault};
use crate::hints::Hints;
use crate::pool::Pool;
use crate::sql::apply::{Bounds, apply};

/// Callers that may wait; those beyond wait for a place.
const QUEUE: usize = 4096;
/// Callers in one transaction at most, so that the first of them does not wait long.
const GROUP: usize = 512;
/// Times that a group is tried which was in another transaction's way.
const TRIES: u32 = 5;

type Answer = oneshot::Sender<Result<Vec<Applied>, StoreError>>;

/// One caller's changes, which are made or fail together.
struct Caller {
    changes: Arc<[Change]>,
    answer: Answer,
}

/// The task that commits, and the way to it.
pub(crate) struct Applier {
    /// None once the store is closed.
    callers: Mutex<Option<mpsc::Sender<Caller>>>,
    task: Mutex<Option<JoinHandle<()>>>,
    slowest: Arc<Slowest>,
}

/// The longest group so far, in microseconds: how slow the database has been.
#[derive(Default)]
struct Slowest(AtomicU64);

impl Slowest {
    fn note(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_max(micros, Ordering::Relaxed);
    }
}

impl Applier {
    pub(crate) fn start(pool: Arc<Pool>, hints: Hints) -> Self {
        let (callers, queue) = mpsc::channel(QUEUE);
        let slowest = Arc::new(Slowest::default());
        let task = tokio::spawn(work(queue, pool, hints, Arc::clone(&slowest)));
        Self { callers: Mutex::new(Some(callers)), task: Mutex::new(Some(task)), slowest }
    }

    /// Makes changes in the next transaction and answers after its commit.
    pub(crate) async fn apply(&self, changes: Arc<[Change]>) -> Result<Vec<Applied>, StoreError> {
        let closed = || StoreError::Unavailable("the store is closed".to_owned());
        let (answer, answered) = oneshot::channel();
        let callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let callers = callers.ok_or_else(closed)?;
        callers.send(Caller { changes, answer }).await.map_err(|_| closed())?;
        match answered.await {
            Ok(result) => result,
            // The task ended with the changes in its hands.
            Err(_) => Err(StoreError::Unknown("the store ended".to_owned())),
        }
    }

    /// Wall time of the longest group so far.
    pub(crate) fn slowest(&self) -> Duration {
        Duration::from_micros(self.slowest.0.load(Ordering::Relaxed))
    }

    /// Makes the changes that wait, and refuses all others.
    pub(crate) async fn close(&self) {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner).take();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // If it panicked, its callers know.
            let _ = task.await;
        }
    }
}

async fn work(
    mut queue: mpsc::Receiver<Caller>,
    pool: Arc<Pool>,
    hints: Hints,
    slowest: Arc<Slowest>,
) {
    let mut group = Vec::new();
    // Whatever waits goes into one transaction: no caller waits for more to come.
    while queue.recv_many(&mut group, GROUP).await > 0 {
        let begun = Instant::now();
        commit(&pool, &hints, std::mem::take(&mut group)).await;
        slowest.note(begun.elapsed());
    }
}

async fn commit(pool: &Arc<Pool>, hints: &Hints, callers: Vec<Caller>) {
    let changes: Vec<&Change> = callers.iter().flat_map(|caller| caller.changes.iter()).collect();
    match tried(pool, &changes).await {
        Ok(answers) => answer(hints, callers, answers),
        // The fault is in what one of them asks for, and will show again for that one alone.
        Err(failed) if callers.len() > 1 && failed.fault.is_of_the_request() => {
            for caller in callers {
                let changes: Vec<&Change> = caller.changes.iter().collect();
                match tried(pool, &changes).await {
                    Ok(answers) => answer(hints, vec![caller], answers),
                    Err(failed) => drop(caller.answer.send(Err(failed.store_error()))),
                }
            }
        }
        Err(failed) => {
            for caller in callers {
                let _ = caller.answer.send(Err(failed.store_error()));
            }
        }
    }
}

/// Makes the changes; again if others were in the way.
async fn tried(pool: &Arc<Pool>, changes: &[&Change]) -> Ended<Vec<Applied>> {
    let mut tries = 0;
    loop {
        let session = pool.take().await?;
        tries += 1;
        match apply(&session, changes, Bounds::Own).await {
            Err(failed) if failed.may_be_repeated() && tries < TRIES => {
                tracing::debug!(fault = %failed.fault, "the changes are tried again");
            }
            ended => return ended,
        }
    }
}

fn answer(hints: &Hints, callers: Vec<Caller>, answers: Vec<Applied>) {
    let mut answers = answers.into_iter();
    let mut work = false;
    for Caller { changes, answer } in callers {
        let own: Vec<Applied> = answers.by_ref().take(changes.len()).collect();
        work |= made_work(&changes, &own);
        let _ = answer.send(Ok(own));
    }
    if work {
        hints.announce();
    }
}

/// Whether someone who waits for work should look. A heartbeat puts a deadline off; nobody
/// has to look sooner for that.
fn made_work(changes: &[Change], answers: &[Applied]) -> bool {
    let recorded = |change: &Change| match change {
        Change::Entry(change) => change.event.is_recorded(),
        Change::Batch(_) => true,
    };
    changes.iter().zip(answers).any(|(change, answer)| answer.is_applied() && recorded(change))
}

/// Runs `work` on a session of the pool, again if others were in the way, and to its end
/// even if the caller no longer waits: half a transaction is of no use to anyone.
pub(crate) async fn write<T, Work>(
    pool: &Arc<Pool>,
    work: impl Fn(crate::session::Shared) -> Work + Send + 'static,
) -> Result<T, StoreError>
where
    T: Send + 'static,
    Work: Future<Output = Ended<T>> + Send,
{
    let pool = Arc::clone(pool);
    let task = tokio::spawn(async move {
        let mut tries = 0;
        loop {
            let session = pool.take().await.map_err(Failed::from)?;
            tries += 1;
            match work(session.shared()).await {
                Err(failed) if failed.may_be_repeated() && tries < TRIES => {
                    tracing::debug!(fault = %failed.fault, "a write is tried again");
                }
                ended => return ended,
            }
        }
    });
    match task.await {
        Ok(ended) => ended.map_err(StoreError::from),
        Err(error) => Err(Fault::Impossible(format!("a write ended: {error}")).at_commit().into()),
    }
}
