//! Whether status, events, entries and report agree: at every status that is seen while the batch
//! runs, the events up to its `event_seq` must fold to it.

mod fold;
mod ledger;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dialtone_clock::Timestamp;
use dialtone_contract::ErrorCode;
use dialtone_contract::wire::{BatchStatus, EventView, StreamEnd};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use self::fold::Fold;
use crate::drill::Victim;
use crate::failure::Failure;
use crate::invariant;
use crate::sse::{Message, Sse};
use crate::tally::Tally;

pub use ledger::{Cancelled, Ledger, Mark};

/// Statuses that wait to be compared. Those that find no room are passed over: a stream that is
/// behind is as right a little later.
pub const WAITING: usize = 64;
/// How long the stream may stay behind a status, with the return of a server that was killed.
const BEHIND: Duration = Duration::from_secs(15);
/// How long one read of the stream may take.
const READ: Duration = Duration::from_secs(5);
/// Between two tries to open the stream.
const PAUSE: Duration = Duration::from_millis(100);
/// Troubles that are told.
const TOLD: usize = 10;

/// What was compared, and what did not agree. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Agreement(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    fold: Option<Fold>,
    ledger: Ledger,
    statuses: u32,
    troubles: Vec<String>,
    more: usize,
}

impl Book {
    fn trouble(&mut self, text: String) {
        if self.troubles.len() < TOLD {
            self.troubles.push(text);
        } else {
            self.more += 1;
        }
    }
}

impl Agreement {
    /// Notes that a service is about to be killed; gives the place of the mark.
    pub fn kill(&self, victim: Victim, from: Timestamp) -> usize {
        let mut book = self.book();
        let Book { fold, ledger, .. } = &mut *book;
        ledger.kill(victim, from, fold.as_ref())
    }

    /// Notes that the service of this mark was started again.
    pub fn revived(&self, mark: usize, at: Timestamp) {
        self.book().ledger.revived(mark, at);
    }

    /// What the events have shown so far.
    pub fn ledger(&self) -> Ledger {
        self.book().ledger.clone()
    }

    /// Outcomes that agents reported and that counted.
    pub fn callbacks(&self) -> Option<u32> {
        self.book().fold.as_ref().map(|fold| fold.callbacks)
    }

    /// Notes something that does not agree.
    fn trouble(&self, text: String) {
        self.book().trouble(text);
    }

    /// Compares a status with the events, which have been read up to it.
    fn compare_now(&self, status: &BatchStatus) {
        let mut book = self.book();
        book.statuses += 1;
        let differences = book.fold.as_ref().map(|fold| fold.differences(status));
        for difference in differences.unwrap_or_default() {
            book.trouble(format!("at event {}: {difference}", status.event_seq));
        }
    }

    /// Compares the end of the batch: its status with its entries and its report.
    pub fn compare_end(&self, status: &BatchStatus, tally: &Tally, report: Option<&Value>) {
        let mut book = self.book();
        for difference in invariant::drift(status, tally) {
            book.trouble(format!("at the end: {difference}"));
        }
        for difference in report.map(|report| off_report(status, report)).unwrap_or_default() {
            book.trouble(format!("the report: {difference}"));
        }
    }

    /// Whether everything agreed that was compared.
    ///
    /// # Errors
    /// With what did not.
    pub fn verdict(&self) -> Result<String, Failure> {
        let book = self.book();
        let events = book.fold.as_ref().map_or(0, |fold| fold.seq);
        let Some(first) = book.troubles.first() else {
            let statuses = book.statuses;
            return Ok(format!("{statuses} statuses, {events} events, entries and report agree"));
        };
        let mut told = book.troubles.clone();
        if book.more > 0 {
            told.push(format!("and {} more", book.more));
        }
        Err(Failure::new(ErrorCode::CheckFailed, first.clone()).evidence(told))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the stream, as far as the statuses go: what has been read is then what has been compared.
pub struct Reader<'a> {
    agreement: &'a Agreement,
    port: u16,
    path: String,
    stream: Option<Sse>,
}

impl<'a> Reader<'a> {
    /// A reader of the events of `batch`, at the API on this port.
    pub fn new(agreement: &'a Agreement, port: u16, batch: &str) -> Self {
        Self { agreement, port, path: format!("/batch/{batch}/events"), stream: None }
    }

    /// Compares every status with the events, up to the last status. Troubles are noted, not
    /// told: the batch goes on whoever watches it.
    pub async fn compare(mut self, mut statuses: mpsc::Receiver<BatchStatus>) {
        while let Some(status) = statuses.recv().await {
            if let Err(why) = self.read_to(&status).await {
                self.agreement.trouble(why);
                return;
            }
            self.agreement.compare_now(&status);
            if status.status.is_terminal() {
                if let Err(why) = self.read_end(&status).await {
                    self.agreement.trouble(why);
                }
                return;
            }
        }
    }

    /// Reads until the events reach the status.
    async fn read_to(&mut self, status: &BatchStatus) -> Result<(), String> {
        let mut seq = {
            let mut book = self.agreement.book();
            book.fold.get_or_insert_with(|| Fold::new(status.total_calls)).seq
        };
        while seq < status.event_seq {
            let message = self.next(seq).await?;
            if message.event == END {
                return Err(format!(
                    "the stream ended at event {seq}, the status is at {}",
                    status.event_seq
                ));
            }
            seq = self.take(&message)?;
        }
        Ok(())
    }

    /// Reads the end of the stream, behind the last event.
    async fn read_end(&mut self, status: &BatchStatus) -> Result<(), String> {
        let message = self.next(status.event_seq).await?;
        if message.event != END {
            return Err(format!("`{}` came behind the end of the batch", message.event));
        }
        let end: StreamEnd = serde_json::from_str(&message.data)
            .map_err(|error| format!("the end of the stream is not as expected: {error}"))?;
        let same = end.event_seq == status.event_seq && end.status == status.status;
        let (seq, state) = (end.event_seq, end.status);
        if same { Ok(()) } else { Err(format!("the stream ends {state} at event {seq}")) }
    }

    fn take(&self, message: &Message) -> Result<u64, String> {
        let event: EventView = serde_json::from_str(&message.data)
            .map_err(|error| format!("an event is not as expected: {error}: {}", message.data))?;
        let mut book = self.agreement.book();
        let Book { fold, ledger, .. } = &mut *book;
        let Some(fold) = fold else { return Ok(event.event_seq) };
        fold.take(&event)?;
        ledger.take(&event, fold);
        Ok(fold.seq)
    }

    /// The next message of the stream behind event `after`, over as many connections as it takes.
    async fn next(&mut self, after: u64) -> Result<Message, String> {
        let deadline = Instant::now() + BEHIND;
        loop {
            let why = match self.try_next(after).await {
                Ok(message) => return Ok(message),
                Err(why) => why,
            };
            self.stream = None;
            if Instant::now() >= deadline {
                let s = BEHIND.as_secs();
                return Err(format!("no event behind {after} came for {s} s: {why}"));
            }
            sleep(PAUSE).await;
        }
    }

    async fn try_next(&mut self, after: u64) -> Result<Message, String> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let open = Sse::resume(self.port, &self.path, after);
                let opened = timeout(READ, open).await.map_err(|_| "no answer".to_owned())?;
                none.insert(opened.map_err(|error| error.to_string())?)
            }
        };
        let read = timeout(READ, stream.next_message()).await;
        let read = read.map_err(|_| "the stream is silent".to_owned())?;
        read.map_err(|error| error.to_string())?.ok_or_else(|| "the stream ended".to_owned())
    }
}

/// The name of the last message of a stream.
const END: &str = "done";

/// What the report says otherwise than the last status.
fn off_report(status: &BatchStatus, report: &Value) -> Vec<String> {
    let figures = [
        ("total_calls", status.total_calls),
        ("completed_calls", status.completed_calls),
        ("failed_calls", status.failed_calls),
        ("cancelled_calls", status.cancelled_calls),
        ("attempts", status.attempts),
        ("dials", status.dials),
    ];
    let mut off: Vec<String> = figures
        .into_iter()
        .filter(|(name, said)| report[*name] != *said)
        .map(|(name, said)| format!("{name} is {}, the status says {said}", report[name]))
        .collect();
    let said = serde_json::to_value(&status.by_outcome).unwrap_or_default();
    if report["by_outcome"] != said {
        off.push(format!("by_outcome is {}, the status says {said}", report["by_outcome"]));
    }
    off
}

#[cfg(test)]
mod tests;
