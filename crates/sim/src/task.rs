use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// One life of one server; whatever it runs ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Which server.
    pub server: usize,
    /// Which of its lives.
    pub life: u64,
}

/// A task.
pub type TaskFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tasks that were woken and not polled since, in the order in which they were spawned:
/// the order in which a channel wakes its waiters may be left to chance, and a history
/// must not depend on chance that no seed decides.
type Woken = Arc<Mutex<BTreeSet<u64>>>;

struct TaskWaker {
    id: u64,
    woken: Woken,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.lock().expect("no holder of the lock panics").insert(self.id);
    }
}

/// Everything that runs, on all servers. There is no thread and no real time: a task
/// goes on when the event that it waits for has happened.
#[derive(Default)]
pub struct Tasks {
    running: BTreeMap<u64, (Owner, Waker, TaskFuture)>,
    woken: Woken,
    next: u64,
}

impl Tasks {
    fn woken(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.woken.lock().expect("no holder of the lock panics")
    }

    /// Starts a task.
    pub fn start(&mut self, owner: Owner, task: TaskFuture) {
        self.next += 1;
        let id = self.next;
        let waker = Waker::from(Arc::new(TaskWaker { id, woken: Arc::clone(&self.woken) }));
        self.running.insert(id, (owner, waker, task));
        self.woken().insert(id);
    }

    /// Lets one woken task go on, and gives whose it was.
    pub fn poll_one(&mut self) -> Option<Owner> {
        loop {
            let id = self.woken().pop_first()?;
            // Wakers outlive their tasks.
            let Some((owner, waker, task)) = self.running.get_mut(&id) else { continue };
            let owner = *owner;
            if task.as_mut().poll(&mut Context::from_waker(waker)).is_ready() {
                self.running.remove(&id);
            }
            return Some(owner);
        }
    }

    /// Drops everything that runs for `owner`, wherever it stands.
    pub fn kill(&mut self, owner: Owner) {
        self.running.retain(|_, (of, _, _)| *of != owner);
    }
}

/// Wall time that an engine has for an answer.
const ENGINE_ANSWERS: Duration = Duration::from_secs(60);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The answer of an engine. The memory engine has it at once; for one with threads of its
/// own this thread waits, and virtual time stands still meanwhile.
///
/// # Panics
/// If there is none: nothing but engines is asked this way.
pub fn ready<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return output;
    }
    let (waker, began) = (Waker::from(Arc::new(Unpark(thread::current()))), Instant::now());
    while began.elapsed() < ENGINE_ANSWERS {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park_timeout(ENGINE_ANSWERS);
    }
    panic!("a simulated step waits for something outside the simulation");
}

/// Waits for the first of two futures; the first one first, where both have ended.
pub async fn either(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    std::future::poll_fn(|cx| {
        if a.as_mut().poll(cx).is_ready() || b.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}
