//! The event stream of a run. Everything that a run tells goes through it; the terminal, the JSON
//! lines, the result file and the JUnit file are consumers of the one stream.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dialtone_contract::ErrorCode;
use dialtone_contract::wire::WorkerHealth;
use serde::Serialize;

use crate::envelope::{Check, Envelope, millis};
use crate::failure::Failure;
use crate::outlet::{LAST_WORDS, Outlet};

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run begins.
    RunStarted {
        /// `noun:verb`.
        command: String,
        /// The run.
        run_id: String,
        /// Its seed.
        seed: u64,
        /// What is the real thing.
        real: Vec<String>,
        /// What stands in for the real thing.
        simulated: Vec<String>,
        /// What will be done, in one line.
        plan: String,
    },
    /// The binaries are being built.
    BuildStarted {
        /// What is built.
        what: String,
    },
    /// The binaries are there.
    BuildFinished {
        /// What was built.
        what: String,
        /// How long it took.
        duration_ms: f64,
    },
    /// A process of the stack runs.
    ServiceStarted {
        /// Its name.
        name: String,
        /// Its process id.
        pid: u32,
        /// Where it listens.
        url: String,
        /// How long the start took.
        duration_ms: f64,
    },
    /// A process of the stack can take work.
    ServiceReady {
        /// Its name.
        name: String,
        /// How long it took since its start.
        duration_ms: f64,
    },
    /// A process of the stack ended before it should.
    ServiceExited {
        /// Its name.
        name: String,
        /// Its process id.
        pid: u32,
        /// How it ended.
        exit: String,
    },
    /// A process of the stack was killed on purpose.
    ServiceKilled {
        /// Its name.
        name: String,
        /// Its process id.
        pid: u32,
    },
    /// How far the batch is.
    Progress(Progress),
    /// A case of a matrix begins.
    CaseStarted {
        /// Its name.
        name: String,
    },
    /// The hive got a heartbeat.
    Beat {
        /// Its place in the sequence of its process.
        seq: u64,
        /// What the worker said of itself.
        status: WorkerHealth,
        /// Milliseconds since the beat before.
        gap_ms: Option<f64>,
        /// Slots that were busy.
        slots_busy: usize,
        /// Slots in all.
        slots_total: usize,
    },
    /// A check has its answer.
    Check(Check),
    /// The invariants have been looked at.
    Invariants {
        /// How many hold.
        hold: usize,
        /// How many there are.
        total: usize,
        /// The names of those that do not.
        broken: Vec<String>,
    },
    /// Planned against final.
    Table {
        /// One row for each plan.
        rows: Vec<TableRow>,
        /// Further figures, in one line.
        figures: String,
    },
    /// Text as it stands, such as a table of a command's own.
    Text {
        /// The text, whole lines.
        text: String,
    },
    /// Something that is good to know.
    Note {
        /// What.
        text: String,
    },
    /// Something that may become a problem.
    Warning {
        /// What.
        text: String,
    },
    /// The user asked the run to stop.
    Interrupting {
        /// The signal.
        signal: String,
    },
    /// The stack is down.
    Stopped {
        /// How many processes were stopped.
        processes: usize,
        /// How long it took.
        duration_ms: f64,
    },
    /// Why the run does not pass.
    Failure {
        /// The stable code.
        code: ErrorCode,
        /// What happened.
        message: String,
        /// What proves it.
        evidence: Vec<String>,
        /// What the code means.
        why: String,
        /// What to do.
        hint: String,
        /// The command that does the same again.
        again: Option<String>,
    },
    /// The run is over. Written to streams as the bare document.
    RunFinished {
        /// The result.
        envelope: Box<Envelope>,
        /// Where the run folder lies, if there is one.
        folder: Option<String>,
    },
}

/// How far a batch is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Progress {
    /// Entries in all.
    pub total: u32,
    /// Entries that have ended.
    pub ended: u32,
    /// Entries with an attempt under way.
    pub in_flight: u32,
    /// Entries that wait for their next attempt.
    pub retrying: u32,
    /// Attempts begun.
    pub attempts: u32,
    /// Dial claims won.
    pub dials: u32,
    /// Seconds since the trigger, on the run's timeline.
    pub simulated_s: f64,
}

/// One row of the final table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableRow {
    /// The plan.
    pub name: String,
    /// How many were planned; for weighted outcomes the band in which the count must lie.
    pub planned: String,
    /// How many ended so.
    pub ended: u32,
    /// How entries of this plan ended, where the word differs from the plan's.
    pub ended_as: String,
    /// Attempts that they took.
    pub attempts: Option<u32>,
    /// Whether it is as planned.
    pub good: bool,
}

impl Event {
    /// The event for a failure.
    pub fn failure(failure: &Failure, again: Option<String>) -> Self {
        Self::Failure {
            code: failure.code,
            message: failure.message.clone(),
            evidence: failure.evidence.clone(),
            why: failure.code.title().to_owned(),
            hint: failure.advice().to_owned(),
            again,
        }
    }
}

/// An event and the time since the run began.
#[derive(Clone, Debug, Serialize)]
pub struct Stamped {
    /// Milliseconds since the run began.
    pub at_ms: f64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl Stamped {
    /// One line of the stream, without its end: the last event is the bare document.
    pub fn to_line(&self) -> String {
        let line = match &self.event {
            Event::RunFinished { envelope, .. } => serde_json::to_string(envelope),
            _ => serde_json::to_string(self),
        };
        line.expect("events are plain data")
    }
}

/// Someone who takes events.
pub trait Consumer: Send {
    /// Takes one event.
    ///
    /// # Errors
    /// If it cannot be passed on; the consumer gets no more events then.
    fn take(&mut self, event: &Stamped) -> io::Result<()>;
}

/// Passes events to every consumer, in order. Cloning is cheap.
///
/// The consumers that somebody reads while the run goes on have a thread each, and whoever emits
/// does not wait for them; the files of the run are written at once.
#[derive(Clone)]
pub struct Bus {
    started: Instant,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    outlets: Vec<Outlet>,
    files: Vec<(String, Box<dyn Consumer>)>,
    /// The run is over: what is still said may be the last words of the process.
    over: bool,
    /// What happened before the files of the run could be made; `None` once they are.
    before: Option<Vec<Arc<Stamped>>>,
    lost: Vec<String>,
}

impl Bus {
    /// A stream that begins now.
    pub fn new() -> Self {
        let shared = Shared {
            outlets: Vec::new(),
            files: Vec::new(),
            over: false,
            before: Some(Vec::new()),
            lost: Vec::new(),
        };
        Self { started: Instant::now(), shared: Arc::new(Mutex::new(shared)) }
    }

    /// Adds a consumer that prints; `name` is for the message when it cannot write.
    pub fn add(&self, name: &str, consumer: impl Consumer + 'static) {
        self.lock().outlets.push(Outlet::new(name, consumer));
    }

    /// Adds the files of a run, which get to know what happened before they came. Nothing is kept
    /// for anyone after them.
    pub fn add_late(&self, late: Vec<(String, Box<dyn Consumer>)>) {
        let mut shared = self.lock();
        let before = shared.before.take().unwrap_or_default();
        for (name, mut consumer) in late {
            match before.iter().try_for_each(|event| consumer.take(event)) {
                Ok(()) => shared.files.push((name, consumer)),
                Err(error) => shared.lost.push(format!("{name}: {error}")),
            }
        }
    }

    /// Time since the stream began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Tells everyone. A consumer that fails is dropped, and [`Bus::lost`] says so: a closed
    /// terminal must not end a run, and one that has stalled must not hold it up.
    pub fn emit(&self, event: Event) {
        let mut shared = self.lock();
        // Stamped under the lock, so that times never run backwards in a file.
        let stamped = Arc::new(Stamped { at_ms: millis(self.elapsed()), event });
        let Shared { outlets, files, over, before, lost } = &mut *shared;
        outlets.iter().for_each(|outlet| outlet.put(&stamped));
        files.retain_mut(|(name, consumer)| match consumer.take(&stamped) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => false,
            Err(error) => {
                lost.push(format!("{name}: {error}"));
                false
            }
        });
        *over |= matches!(stamped.event, Event::RunFinished { .. });
        // A build prints on the same terminal, past this stream.
        let flush = *over || matches!(stamped.event, Event::BuildStarted { .. });
        if let Some(before) = before {
            before.push(stamped);
        }
        drop(shared);
        if flush {
            self.flush();
        }
    }

    /// Waits until all is printed, but not for long.
    pub fn flush(&self) {
        let deadline = Instant::now() + LAST_WORDS;
        let outlets = self.lock().outlets.clone();
        outlets.iter().for_each(|outlet| outlet.drain(deadline));
    }

    /// What could not be written. A reader that has gone away is no loss.
    pub fn lost(&self) -> Vec<String> {
        self.flush();
        let shared = self.lock();
        let unread = shared.outlets.iter().filter_map(Outlet::lost);
        shared.lost.iter().cloned().chain(unread).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes every event as one JSON line.
pub struct JsonLines<W>(pub W);

impl<W: io::Write + Send> Consumer for JsonLines<W> {
    fn take(&mut self, event: &Stamped) -> io::Result<()> {
        let mut line = event.to_line();
        line.push('\n');
        // One write and one flush per line, so that a reader can follow a run that goes on.
        self.0.write_all(line.as_bytes())?;
        self.0.flush()
    }
}

/// Prints the document and nothing else.
pub struct JsonDocument<W>(pub W);

impl<W: io::Write + Send> Consumer for JsonDocument<W> {
    fn take(&mut self, event: &Stamped) -> io::Result<()> {
        if let Event::RunFinished { envelope, .. } = &event.event {
            self.0.write_all(envelope.to_json().as_bytes())?;
            self.0.flush()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Full(io::ErrorKind);

    impl Consumer for Full {
        fn take(&mut self, _event: &Stamped) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_closed_reader_is_no_loss_and_a_full_disk_is() {
        let bus = Bus::new();
        bus.add("stdout", Full(io::ErrorKind::BrokenPipe));
        bus.add("events.jsonl", Full(io::ErrorKind::StorageFull));
        for text in ["a", "b"] {
            bus.emit(Event::Note { text: text.into() });
        }
        let lost = bus.lost();
        assert_eq!(lost.len(), 1, "{lost:?}");
        assert!(lost[0].starts_with("events.jsonl: "), "{lost:?}");
    }

    #[test]
    fn the_stream_ends_with_the_bare_document() {
        let envelope = Box::new(Envelope::new("batch:test", "7f3a", 1));
        let lines = [
            Stamped { at_ms: 1.5, event: Event::Note { text: "hello".into() } },
            Stamped { at_ms: 2.0, event: Event::RunFinished { envelope, folder: None } },
        ]
        .map(|event| event.to_line());
        insta::assert_snapshot!(lines.join("\n"));
    }
}
