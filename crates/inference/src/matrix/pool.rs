use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread spins before it sleeps: longer than the gaps between the operations of one
/// step, far shorter than a time slice.
const SPIN: Duration = Duration::from_micros(20);
/// Spins between two looks at the clock.
const SPINS: u32 = 64;

/// Threads that share the items of one operation at a time.
///
/// Items are claimed one by one by a counter, and the caller takes part: a helper that the
/// system has put aside costs the item in its hands, not the operation. Helpers spin for a
/// moment between operations, then sleep. Dropping the pool ends and joins them.
pub struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    // One operation at a time; a second one, or one inside another, is run by its caller alone.
    turn: Mutex<()>,
}

/// What an operation calls for each item. The lifetime is a lie that `Shared::gate` makes true.
type Work = *const (dyn Fn(usize) + Sync + 'static);

/// The operation, as helpers see it. Written by the caller while the gate is shut and nobody is
/// inside; read only by helpers that are inside.
struct Operation {
    work: Option<Work>,
    items: usize,
}

/// A value on a cache line of its own.
#[repr(align(128))]
struct Line<T>(T);

struct Shared {
    /// The number of the operation, whether it is open, whether its caller sleeps until the
    /// helpers have left, and how many helpers are inside. A helper enters by one compare and
    /// swap on an open gate; the caller returns only when the gate is shut and nobody is inside.
    /// So whoever is inside may use the operation, and nobody else does.
    gate: Line<AtomicUsize>,
    /// The next item to claim.
    next: Line<AtomicUsize>,
    operation: Line<UnsafeCell<Operation>>,
    /// The first panic of a helper in this operation.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Helpers that sleep, or are about to.
    sleepers: AtomicUsize,
    /// Guards the way into sleep, of helpers and of the caller; holds whether the pool ends.
    asleep: Mutex<bool>,
    wake_helpers: Condvar,
    wake_caller: Condvar,
}

// SAFETY: all fields but `operation` are Sync by themselves. `operation` is written by the one
// caller that holds `Pool::turn` while the gate is shut and empty, and read by helpers between
// entering and leaving the gate; both edges are acquire/release operations on `gate`. The work
// that it points to is Sync.
#[expect(unsafe_code, reason = "the operation is lent to the helpers under the gate's protocol")]
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is used only under the gate's protocol, from whichever thread.
#[expect(unsafe_code, reason = "the operation is lent to the helpers under the gate's protocol")]
unsafe impl Send for Shared {}

/// Bits of `Shared::gate`: helpers inside.
const INSIDE: usize = 0xffff;
/// The gate is open: helpers may enter.
const OPEN: usize = 1 << 16;
/// The caller sleeps until nobody is inside.
const WAITING: usize = 1 << 17;
/// One step of the operation's number, which takes the remaining bits and wraps around.
const NUMBER: usize = 1 << 18;

/// Most threads of a pool.
const MOST: usize = 1024;

impl Pool {
    /// With `threads` threads, the caller of [`run`](Self::run) included: 1 (or 0) starts none.
    /// Where the system gives fewer, there are fewer.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            gate: Line(AtomicUsize::new(0)),
            next: Line(AtomicUsize::new(0)),
            operation: Line(UnsafeCell::new(Operation { work: None, items: 0 })),
            panic: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            asleep: Mutex::new(false),
            wake_helpers: Condvar::new(),
            wake_caller: Condvar::new(),
        });
        let helpers = (1..threads.min(MOST))
            .map_while(|index| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("matrix-{index}"))
                    .spawn(move || shared.help())
                    .ok()
            })
            .collect();
        Self { shared, helpers, turn: Mutex::new(()) }
    }

    /// Threads that take part, the caller included.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `work` once for each of `0..items`, on whichever thread, in whichever order, and
    /// returns when all calls have returned. Allocates nothing.
    ///
    /// # Panics
    /// If a call panics: with its payload, when no call runs any more. Items not begun by then
    /// are left out.
    pub fn run(&self, items: usize, work: &(dyn Fn(usize) + Sync)) {
        let turn = if self.helpers.is_empty() || items < 2 { None } else { self.turn() };
        if turn.is_none() {
            (0..items).for_each(work);
            return;
        }
        let mut open = self.shared.open(items, work);
        self.shared.claim(items, work);
        open.finished = true;
        // Also what happens first when `work` panics above.
        drop(open);
        let panic = lock(&self.shared.panic).take();
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// The right to use the helpers; `None` while another operation does.
    fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        match self.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        *lock(&self.shared.asleep) = true;
        self.shared.wake_helpers.notify_all();
        for helper in self.helpers.drain(..) {
            // A helper catches the panics of its work; there is nothing else to learn here.
            let _ = helper.join();
        }
    }
}

/// An operation that helpers may enter, until this is dropped.
struct Open<'a> {
    shared: &'a Shared,
    /// Whether the caller's own items ended well.
    finished: bool,
}

impl Shared {
    /// Lends `work` to the helpers. The caller holds the turn.
    fn open(&self, items: usize, work: &(dyn Fn(usize) + Sync)) -> Open<'_> {
        #[expect(unsafe_code, reason = "the operation is lent to the helpers for a while")]
        // SAFETY: only the lifetime changes. The pointer is used only by helpers inside the gate,
        // and `Open::drop`, which runs before `work` can go away, shuts the gate and returns only
        // when nobody is inside.
        let work = unsafe {
            std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Work>(std::ptr::from_ref(
                work,
            ))
        };
        #[expect(unsafe_code, reason = "the operation is lent to the helpers for a while")]
        // SAFETY: this thread holds the turn, the gate is shut and nobody is inside (the former
        // `Open` was dropped), so nobody else reads or writes.
        unsafe {
            *self.operation.0.get() = Operation { work: Some(work), items };
        }
        self.next.0.store(0, Ordering::Relaxed);
        let number = (self.gate.0.load(Ordering::Relaxed) / NUMBER).wrapping_add(1);
        // Publishes the operation and the counter to those who enter. Sequentially consistent,
        // as is the look at `sleepers`: either a helper about to sleep sees the open gate, or it
        // is seen here and woken.
        self.gate.0.store(number.wrapping_mul(NUMBER) | OPEN, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.asleep));
            self.wake_helpers.notify_all();
        }
        Open { shared: self, finished: false }
    }

    /// Runs items until none is left.
    fn claim(&self, items: usize, work: &(dyn Fn(usize) + Sync)) {
        loop {
            let item = self.next.0.fetch_add(1, Ordering::Relaxed);
            if item >= items {
                return;
            }
            work(item);
        }
    }

    /// Shuts the gate, and returns when nobody is inside.
    fn shut(&self) {
        let empty = |gate: usize| gate & INSIDE == 0;
        // Acquire, here and below: what the helpers wrote is seen by the caller of `run`.
        if empty(self.gate.0.fetch_and(!OPEN, Ordering::AcqRel)) {
            return;
        }
        if spin(|| empty(self.gate.0.load(Ordering::Acquire)).then_some(())).is_some() {
            return;
        }
        // The last helper to leave sees the flag, or this thread sees that it has left. Under the
        // lock, so that the wake-up cannot come between the look and the sleep.
        let mut guard = lock(&self.asleep);
        let mut gate = self.gate.0.fetch_or(WAITING, Ordering::AcqRel);
        while !empty(gate) {
            guard = self.wake_caller.wait(guard).unwrap_or_else(PoisonError::into_inner);
            gate = self.gate.0.load(Ordering::Acquire);
        }
        self.gate.0.fetch_and(!WAITING, Ordering::Relaxed);
    }

    /// The life of a helper.
    fn help(&self) {
        let mut served = 0;
        while let Some(gate) = self.wait(served) {
            let entered =
                self.gate.0.compare_exchange(gate, gate + 1, Ordering::Acquire, Ordering::Relaxed);
            // Another helper came or left, or the operation is over: look again.
            if entered.is_err() {
                continue;
            }
            served = gate / NUMBER;
            self.take_part();
            let before = self.gate.0.fetch_sub(1, Ordering::Release);
            if before & INSIDE == 1 && before & WAITING != 0 {
                drop(lock(&self.asleep));
                self.wake_caller.notify_one();
            }
        }
    }

    /// Runs items of the operation that this thread is inside of.
    fn take_part(&self) {
        #[expect(unsafe_code, reason = "the operation is lent to the helpers for a while")]
        // SAFETY: this thread is inside the gate: the operation was written before the gate
        // opened (acquired by entering), and is not written again before this thread has left.
        let operation = unsafe { &*self.operation.0.get() };
        let Some(work) = operation.work else { return };
        #[expect(unsafe_code, reason = "the operation is lent to the helpers for a while")]
        // SAFETY: the caller of `Pool::run` keeps `work` alive until nobody is inside the gate.
        let work = unsafe { &*work };
        let items = operation.items;
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.claim(items, work))) {
            // What is left is not begun.
            self.next.0.store(items, Ordering::Relaxed);
            lock(&self.panic).get_or_insert(payload);
        }
    }

    /// The gate of an open operation other than number `served`, when there is one; `None` when
    /// the pool ends. Spins for a moment, then sleeps.
    fn wait(&self, served: usize) -> Option<usize> {
        let fresh = |order| {
            let gate = self.gate.0.load(order);
            (gate & OPEN != 0 && gate / NUMBER != served).then_some(gate)
        };
        if let Some(gate) = spin(|| fresh(Ordering::Relaxed)) {
            return Some(gate);
        }
        let mut ends = lock(&self.asleep);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let found = loop {
            if *ends {
                break None;
            }
            if let Some(gate) = fresh(Ordering::SeqCst) {
                break Some(gate);
            }
            ends = self.wake_helpers.wait(ends).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        found
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let shared = self.shared;
        if !self.finished {
            // The caller's own item panicked: what is left is not begun.
            shared.next.0.store(usize::MAX / 2, Ordering::Relaxed);
        }
        shared.shut();
        if !self.finished {
            // One panic is on its way already.
            lock(&shared.panic).take();
        }
    }
}

/// Tries `attempt` until it gives something, for [`SPIN`].
fn spin<T>(attempt: impl Fn() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        for _ in 0..SPINS {
            if let Some(found) = attempt() {
                return Some(found);
            }
            spin_loop();
        }
        if began.elapsed() >= SPIN {
            return None;
        }
    }
}

/// The lock, whether or not someone panicked under it: nothing here is left half done by that.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// Runs `items` items and says how often each was called.
    fn counts(pool: &Pool, items: usize) -> Vec<u64> {
        let counts: Vec<AtomicU64> = (0..items).map(|_| AtomicU64::new(0)).collect();
        pool.run(items, &|item| {
            counts[item].fetch_add(1, Ordering::Relaxed);
        });
        counts.into_iter().map(AtomicU64::into_inner).collect()
    }

    #[test]
    fn every_item_is_run_once() {
        for threads in [0, 1, 2, 3] {
            let pool = Pool::new(threads);
            assert_eq!(pool.threads(), threads.max(1));
            for items in [0, 1, 2, 3, 17, 1000] {
                assert_eq!(counts(&pool, items), vec![1; items], "{threads} threads");
            }
        }
    }

    #[test]
    fn many_threads_on_few_cores_leave_nothing_out() {
        let pool = Pool::new(8);
        for round in 0..3000 {
            let items = 2 + round % 13;
            // What the work borrows is gone after each round: a late helper would show.
            assert_eq!(counts(&pool, items), vec![1; items]);
        }
    }

    #[test]
    fn sleeping_helpers_wake_and_results_are_seen() {
        let pool = Pool::new(4);
        for round in 0..20u64 {
            // Longer than helpers spin.
            let until = Instant::now() + 3 * SPIN;
            while Instant::now() < until {
                spin_loop();
            }
            let sum = AtomicU64::new(0);
            pool.run(64, &|item| {
                sum.fetch_add(item as u64 + round, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 2016 + 64 * round);
        }
    }

    #[test]
    fn an_operation_inside_another_is_run_by_its_caller() {
        let pool = Pool::new(3);
        let sum = AtomicU64::new(0);
        pool.run(10, &|_| {
            pool.run(10, &|item| {
                sum.fetch_add(item as u64, Ordering::Relaxed);
            });
        });
        assert_eq!(sum.into_inner(), 450);
    }

    #[test]
    fn callers_at_the_same_time_do_not_mix() {
        let pool = Pool::new(3);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        assert_eq!(counts(&pool, 9), vec![1; 9]);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(4);
        for bad in 0..50 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool.run(50, &|item| assert!(item != bad, "item {item}"));
            }));
            let payload = caught.expect_err("the item panics");
            assert_eq!(payload.downcast_ref::<String>(), Some(&format!("item {bad}")));
            assert_eq!(counts(&pool, 20), vec![1; 20]);
        }
    }
}
