use dialtone_contract::{BatchState, EntryState, Outcome};
use dialtone_store::{BatchRow, CallRow, Counters, EntryRow, EventRow};

use super::Invariant;
use super::live::LiveCalls;

/// The first thing that breaks an invariant.
type Finding = Option<String>;

/// Every invariant of one batch, recounted from rows that are shown one by one: entries
/// by place, then events in order.
pub(crate) struct Recount {
    batch: BatchRow,
    entries: u32,
    missing: Finding,
    counted: Counters,
    calls: u32,
    attempts: Finding,
    claims: u32,
    closing: Finding,
    live: LiveCalls,
    open: Finding,
    folded: Counters,
    state: BatchState,
    events: u64,
    fold: Finding,
    after_terminal: Finding,
}

impl Recount {
    /// Nothing has been shown yet of this batch.
    pub(crate) fn new(batch: BatchRow) -> Self {
        let folded = Counters::from([((EntryState::Pending, None), batch.spec.total)]);
        Self {
            batch,
            entries: 0,
            missing: None,
            counted: Counters::new(),
            calls: 0,
            attempts: None,
            claims: 0,
            closing: None,
            live: LiveCalls::default(),
            open: None,
            folded,
            state: BatchState::Loading,
            events: 0,
            fold: None,
            after_terminal: None,
        }
    }

    /// The next entry.
    pub(crate) fn entry(&mut self, entry: &EntryRow, calls: &[CallRow]) {
        let seq = entry.key.seq;
        self.entries += 1;
        if seq != self.entries && self.missing.is_none() {
            self.missing = Some(format!("entry {} is missing", self.entries));
        }
        *self.counted.entry((entry.state, entry.outcome)).or_default() += 1;
        self.calls += u32::try_from(calls.len()).unwrap_or(u32::MAX);
        let claims = calls.iter().filter(|call| call.claimed_at.is_some()).count();
        self.claims += u32::try_from(claims).unwrap_or(u32::MAX);
        self.live.entry(entry, calls);
        let most = 1 + self.batch.spec.options.max_retries;
        find(&mut self.attempts, || attempts(entry, calls, most));
        find(&mut self.closing, || closing_attempt(entry, calls));
        find(&mut self.open, || {
            let open = !entry.state.is_terminal();
            open.then(|| format!("entry {seq} is still {}", entry.state))
        });
    }

    /// The next event.
    pub(crate) fn event(&mut self, event: &EventRow) {
        self.events += 1;
        find(&mut self.after_terminal, || after_terminal(event));
        if self.fold.is_none() {
            self.fold = self.fold(event);
        }
    }

    fn fold(&mut self, event: &EventRow) -> Finding {
        let expected = self.events;
        if event.event_seq != expected {
            return Some(format!("event {expected} is missing"));
        }
        let Some(seq) = event.seq else {
            if event.from != self.state.as_str() {
                return Some(format!("event {expected} leaves {}, not {}", event.from, self.state));
            }
            let Ok(to) = event.to.parse() else {
                return Some(format!("event {expected} leads to no state"));
            };
            self.state = to;
            return None;
        };
        let (Ok(from), Ok(to)) = (event.from.parse::<EntryState>(), event.to.parse()) else {
            return Some(format!("event {expected} of entry {seq} names no state"));
        };
        match self.folded.get_mut(&(from, event.from_outcome)) {
            Some(n) if *n > 0 => *n -= 1,
            _ => return Some(format!("event {expected}: no entry is {from}")),
        }
        *self.folded.entry((to, event.outcome)).or_default() += 1;
        None
    }

    /// Whether the entries must be shown once more, to [`Recount::again`].
    pub(crate) fn looks_twice(&mut self) -> bool {
        self.live.looks_twice()
    }

    /// The next entry of the second reading.
    pub(crate) fn again(&mut self, entry: &EntryRow, calls: &[CallRow]) {
        self.live.again(entry, calls);
    }

    /// What holds and what does not, of a batch with so many reports.
    pub(crate) fn finish(mut self, reports: usize) -> Vec<Invariant> {
        let (batch, total) = (&self.batch, self.batch.spec.total);
        self.folded.retain(|_, n| *n > 0);
        let lost = self.missing.or_else(|| {
            (self.entries != total)
                .then(|| format!("{} of {total} entries are there", self.entries))
        });
        let counters = (self.counted != batch.counters)
            .then(|| format!("counters say {:?}, rows say {:?}", batch.counters, self.counted));
        let fold = self.fold.or_else(|| {
            let same = self.folded == batch.counters && self.state == batch.state;
            (!same).then(|| format!("events fold to {} {:?}", self.state, self.folded))
        });
        let attempts = self.attempts.or_else(|| {
            let text =
                || format!("the batch counts {} attempts, rows {}", batch.attempts, self.calls);
            (self.calls != batch.attempts).then(text)
        });
        let dials = (self.claims != batch.dials)
            .then(|| format!("the batch counts {} dials, rows {}", batch.dials, self.claims));
        let twice = self.live.finish();
        let live = twice.map(|(one, other)| format!("entries {one} and {other} were live at once"));
        let over = matches!(batch.state, BatchState::Completed | BatchState::Cancelled);
        let findings = [
            ("no_lost_entry", lost),
            ("counters_equal_rows", counters),
            ("events_fold_to_status", fold),
            ("attempts_within_limits", attempts),
            ("dials_equal_claims", dials),
            ("closing_attempt_is_current", self.closing),
            ("one_live_call_per_number", live),
            ("nothing_after_terminal", self.after_terminal),
            ("one_report", one_report(batch, reports)),
            ("ended_batch_has_ended_entries", self.open.filter(|_| over)),
        ];
        let invariant = |(name, found): (&'static str, Finding)| Invariant {
            name,
            holds: found.is_none(),
            detail: found.unwrap_or_default(),
        };
        findings.into_iter().map(invariant).collect()
    }
}

/// Keeps the first finding.
fn find(known: &mut Finding, look: impl FnOnce() -> Finding) {
    if known.is_none() {
        *known = look();
    }
}

fn attempts(entry: &EntryRow, calls: &[CallRow], most: u32) -> Finding {
    let numbers_run = calls.iter().zip(1..).all(|(call, n)| call.attempt == n);
    let fits = calls.len() <= most as usize && numbers_run && entry.attempt as usize == calls.len();
    let (seq, at, n) = (entry.key.seq, entry.attempt, calls.len());
    (!fits).then(|| format!("entry {seq} is at attempt {at} with {n} of at most {most} calls"))
}

/// The outcome of an ended entry is that of its last attempt, unless it ended while it
/// waited for another; and no earlier attempt ended after the last.
fn closing_attempt(entry: &EntryRow, calls: &[CallRow]) -> Finding {
    let last = calls.last().filter(|_| entry.state.is_terminal())?;
    let earlier = &calls[..calls.len() - 1];
    let waited = matches!(entry.outcome, Some(Outcome::Cancelled | Outcome::Suppressed));
    let fits = last.attempt == entry.attempt
        && (last.outcome == entry.outcome || waited)
        && earlier.iter().all(|call| call.ended_at.is_some() && call.ended_at <= last.ended_at);
    let seq = entry.key.seq;
    (!fits).then(|| format!("entry {seq} was not closed by its attempt {}", entry.attempt))
}

fn after_terminal(event: &EventRow) -> Finding {
    let entry = event.from.parse::<EntryState>().is_ok_and(EntryState::is_terminal);
    let batch = event.from.parse::<BatchState>().is_ok_and(BatchState::is_terminal);
    let moved = if event.seq.is_some() { entry } else { batch };
    moved.then(|| format!("event {} leaves {}", event.event_seq, event.from))
}

fn one_report(batch: &BatchRow, reports: usize) -> Finding {
    let ended = matches!(batch.state, BatchState::Completed | BatchState::Cancelled);
    let ending = matches!(batch.state, BatchState::Completing | BatchState::Cancelling);
    let fits = reports == usize::from(ended) || (ending && reports == 1);
    (!fits).then(|| format!("a {} batch has {reports} reports", batch.state))
}
