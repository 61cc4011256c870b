//! Readers: read-only connections. Every read sees one snapshot.
//!
//! Reads of a few rows run where they are asked for: they take microseconds, less than it
//! takes to wake another thread. Longer ones have threads of their own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use dialtone_store::StoreError;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::convert::{Fault, Result};

/// Reads that may wait; callers beyond that wait for a place.
const QUEUE: usize = 1024;
/// Enough that one long listing does not hold up the status reads behind it.
pub(crate) const THREADS: usize = 4;
/// Connections for short reads: one for each core that may ask at once, within reason. A
/// caller who finds none free takes a thread's.
pub(crate) const NEAR: usize = 4;

type Read = Box<dyn FnOnce(&Connection) + Send>;

enum Job {
    Run(Read),
    Stop,
}

pub(crate) struct Readers {
    /// None once the store is being dropped.
    jobs: Option<mpsc::Sender<Job>>,
    /// Those that nobody uses now; None once the store is stopped.
    near: Mutex<Option<Vec<Connection>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    pub(crate) fn start(
        connections: Vec<Connection>,
        near: Vec<Connection>,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::with_capacity(connections.len());
        for connection in connections {
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new()
                .name("store-reader".to_owned())
                .spawn(move || work(&connection, &queue))?;
            threads.push(thread);
        }
        let near = Mutex::new(Some(near));
        Ok(Self { jobs: Some(jobs), near, threads: Mutex::new(threads) })
    }

    /// Runs `read`, which looks at a few rows, on one snapshot of the database, here and now.
    pub(crate) async fn read_few<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, StoreError> {
        match self.take() {
            Some(connection) => self.give_back(in_snapshot(&connection, read), connection),
            None => self.read(read).await,
        }
    }

    /// As [`Self::read_few`], of one statement: that is a snapshot by itself, at half the cost.
    pub(crate) async fn read_one<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, StoreError> {
        match self.take() {
            Some(connection) => self.give_back(read(&connection), connection),
            None => self.read(read).await,
        }
    }

    fn take(&self) -> Option<Connection> {
        self.near().as_mut().and_then(Vec::pop)
    }

    fn give_back<T>(
        &self,
        found: Result<T>,
        connection: Connection,
    ) -> std::result::Result<T, StoreError> {
        if let Some(near) = self.near().as_mut() {
            near.push(connection);
        }
        found.map_err(StoreError::from)
    }

    fn near(&self) -> MutexGuard<'_, Option<Vec<Connection>>> {
        self.near.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `read` on one snapshot of the database.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job = Job::Run(Box::new(move |connection| {
            let _ = answer.send(in_snapshot(connection, read).map_err(StoreError::from));
        }));
        let closed = || StoreError::Unavailable("the store is closed".to_owned());
        let jobs = self.jobs.as_ref().ok_or_else(closed)?;
        jobs.send(job).await.map_err(|_| closed())?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Asks the threads to end once they have done what already waits.
    pub(crate) async fn stop(&self) {
        self.near().take();
        for _ in 0..THREADS {
            if let Some(jobs) = &self.jobs {
                let _ = jobs.send(Job::Stop).await;
            }
        }
    }

    /// As [`Self::stop`], where nobody can wait for a place in the queue.
    pub(crate) fn hang_up(&mut self) {
        self.near().take();
        self.jobs = None;
    }

    /// The threads, to be joined by whoever ends the store.
    pub(crate) fn threads(&self) -> Vec<JoinHandle<()>> {
        self.threads.lock().map(|mut threads| std::mem::take(&mut *threads)).unwrap_or_default()
    }
}

fn work(connection: &Connection, queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // One thread waits at the queue, the others at the lock.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        match job {
            Some(Job::Run(read)) => read(connection),
            Some(Job::Stop) | None => return,
        }
    }
}

fn in_snapshot<T>(
    connection: &Connection,
    read: impl FnOnce(&Connection) -> Result<T>,
) -> Result<T> {
    let run = |sql: &str| connection.prepare_cached(sql)?.execute([]);
    run("BEGIN")?;
    let result = read(connection);
    if !connection.is_autocommit() {
        run("COMMIT").map_err(Fault::from)?;
    }
    result
}
