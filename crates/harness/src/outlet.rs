//! A consumer on a thread of its own, behind a bounded queue: a terminal whose reader has stalled
//! must neither hold up a run nor make it deaf to signals and to its deadline.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::event::{Consumer, Event, Stamped};

/// Waiting events from which on progress is dropped: the next one tells the same and more.
const CROWDED: usize = 128;
/// Waiting events at most. A run has some dozens that are no progress.
const FULL: usize = 4_096;
/// How long the end of a run waits for its readers.
pub const LAST_WORDS: Duration = Duration::from_secs(2);

/// One consumer behind its queue. Cheap to clone; the last clone ends the thread.
#[derive(Clone)]
pub(crate) struct Outlet(Arc<Handle>);

struct Handle {
    name: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<Stamped>>,
    /// The consumer is at work on one.
    busy: bool,
    /// Nobody takes anything any more: the consumer failed, or its reader has gone away.
    over: bool,
    closed: bool,
    dropped: usize,
    /// The end was waited for in vain since the consumer last finished one.
    stalled: bool,
    failed: Option<String>,
}

impl Outlet {
    pub(crate) fn new(name: &str, consumer: impl Consumer + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let behind = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(format!("to {name}"));
        if let Err(error) = thread.spawn(move || behind.serve(consumer)) {
            let mut queue = shared.lock();
            (queue.over, queue.failed) = (true, Some(error.to_string()));
        }
        Self(Arc::new(Handle { name: name.to_owned(), shared }))
    }

    /// Queues an event; never waits.
    pub(crate) fn put(&self, event: &Arc<Stamped>) {
        let mut queue = self.0.shared.lock();
        if queue.over {
            return;
        }
        match queue.waiting.len() {
            FULL.. => queue.dropped += 1,
            CROWDED.. if matches!(event.event, Event::Progress(_)) => {}
            _ => queue.waiting.push_back(Arc::clone(event)),
        }
        self.0.shared.changed.notify_all();
    }

    /// Waits until everything is taken, but not past `deadline`, and not again for a reader that
    /// was waited for in vain.
    pub(crate) fn drain(&self, deadline: Instant) {
        self.0.shared.drain(deadline);
    }

    /// What did not reach its reader. A reader that has gone away is no loss.
    pub(crate) fn lost(&self) -> Option<String> {
        let queue = self.0.shared.lock();
        let name = &self.0.name;
        let missing = queue.dropped + queue.waiting.len() + usize::from(queue.busy);
        if let Some(error) = &queue.failed {
            return Some(format!("{name}: {error}"));
        }
        (queue.dropped > 0 || queue.stalled)
            .then(|| format!("{name}: its reader is too slow, {missing} events did not reach it"))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.drain(Instant::now() + LAST_WORDS);
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn serve(&self, mut consumer: impl Consumer) {
        while let Some(event) = self.next() {
            let taken = consumer.take(&event);
            let mut queue = self.lock();
            (queue.busy, queue.stalled) = (false, false);
            if let Err(error) = taken {
                if error.kind() != io::ErrorKind::BrokenPipe {
                    queue.failed = Some(error.to_string());
                }
                queue.over = true;
                queue.waiting.clear();
            }
            let over = queue.over;
            drop(queue);
            self.changed.notify_all();
            if over {
                return;
            }
        }
    }

    /// The next event; `None` once there will be none.
    fn next(&self) -> Option<Arc<Stamped>> {
        let mut queue = self.lock();
        loop {
            if let Some(event) = queue.waiting.pop_front() {
                queue.busy = true;
                return Some(event);
            }
            if queue.closed {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn drain(&self, deadline: Instant) {
        let at_work = |queue: &mut Queue| !queue.over && (queue.busy || !queue.waiting.is_empty());
        let queue = self.lock();
        let patience = match queue.stalled {
            true => Duration::ZERO,
            false => deadline.saturating_duration_since(Instant::now()),
        };
        let waited = self.changed.wait_timeout_while(queue, patience, |queue| at_work(queue));
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.stalled = at_work(&mut queue);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::envelope::Envelope;
    use crate::event::{Bus, Progress};

    /// Takes what it is let take: one event for each token.
    struct Slow(mpsc::Receiver<()>, mpsc::Sender<String>);

    impl Consumer for Slow {
        fn take(&mut self, event: &Stamped) -> io::Result<()> {
            let _ = self.0.recv();
            let _ = self.1.send(event.to_line());
            Ok(())
        }
    }

    fn progress() -> Event {
        Event::Progress(Progress {
            total: 9,
            ended: 1,
            in_flight: 1,
            retrying: 0,
            attempts: 1,
            dials: 1,
            simulated_s: 1.0,
        })
    }

    #[test]
    fn a_reader_that_takes_nothing_holds_nothing_up_and_is_told() {
        let (tokens, slow) = mpsc::channel();
        let (sink, _seen) = mpsc::channel();
        let bus = Bus::new();
        bus.add("stdout", Slow(slow, sink));
        let began = Instant::now();
        (0..20_000).for_each(|_| bus.emit(progress()));
        bus.emit(Event::Note { text: "hello".into() });
        assert!(began.elapsed() < LAST_WORDS, "it took {:?}", began.elapsed());
        let envelope = Box::new(Envelope::new("batch:test", "a", 1));
        bus.emit(Event::RunFinished { envelope, folder: None });
        assert!(began.elapsed() < 2 * LAST_WORDS, "it took {:?}", began.elapsed());
        let began = Instant::now();
        let lost = bus.lost();
        assert!(began.elapsed() < LAST_WORDS / 2, "it was waited for twice");
        assert_eq!(lost.len(), 1, "{lost:?}");
        assert!(lost[0].starts_with("stdout: its reader is too slow, "), "{lost:?}");
        drop(tokens);
    }

    #[test]
    fn order_is_kept_progress_gives_way_and_the_end_waits() {
        let (tokens, slow) = mpsc::channel();
        let (sink, seen) = mpsc::channel();
        let bus = Bus::new();
        bus.add("stdout", Slow(slow, sink));
        bus.emit(Event::Note { text: "first".into() });
        (0..500).for_each(|_| bus.emit(progress()));
        bus.emit(Event::Note { text: "second".into() });
        drop(tokens);
        let envelope = Box::new(Envelope::new("batch:test", "a", 1));
        bus.emit(Event::RunFinished { envelope, folder: None });
        let lines: Vec<String> = seen.try_iter().collect();
        assert!(lines.len() < 200, "{} lines", lines.len());
        assert!(lines[0].contains("first"), "{}", lines[0]);
        let last = lines.iter().rev().take(2).collect::<Vec<_>>();
        assert!(last[0].contains("schema_version") && last[1].contains("second"), "{last:?}");
        assert_eq!(bus.lost(), Vec::<String>::new());
    }
}
