use std::collections::BTreeMap;

use dialtone_contract::{BatchId, BatchState, EntryState, Outcome, TenantId, limits};
use dialtone_store::{BatchRow, CallRow, Counters, EntryRow, EventRow, Store, StoreError};
use serde::Serialize;

/// One invariant of the pipeline, recounted from rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invariant {
    /// Its name.
    pub name: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// The first row that breaks it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// All invariants of one batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invariants {
    /// The batch.
    pub batch_id: BatchId,
    /// Its invariants.
    pub invariants: Vec<Invariant>,
}

impl Invariants {
    /// The invariants that do not hold.
    pub fn broken(&self) -> impl Iterator<Item = &Invariant> {
        self.invariants.iter().filter(|invariant| !invariant.holds)
    }
}

/// Everything that is stored of a batch.
struct Rows {
    batch: BatchRow,
    entries: Vec<(EntryRow, Vec<CallRow>)>,
    events: Vec<EventRow>,
    reports: Vec<String>,
}

/// The first thing that breaks an invariant.
type Finding = Option<String>;

/// An invariant's name and how it is recounted.
type Check = (&'static str, fn(&Rows) -> Finding);

const CHECKS: [Check; 10] = [
    ("no_lost_entry", lost_entry),
    ("counters_equal_rows", counters),
    ("events_fold_to_status", events_fold),
    ("attempts_within_limits", attempts),
    ("dials_equal_claims", dials),
    ("closing_attempt_is_current", closing_attempt),
    ("one_live_call_per_number", live_calls),
    ("nothing_after_terminal", after_terminal),
    ("one_report", one_report),
    ("ended_batch_has_ended_entries", ended),
];

/// Times that the rows are read anew because the batch moved meanwhile.
const READS_MAX: u32 = 100;

/// Recounts every invariant of a batch from its rows; `None` if there is no such batch.
///
/// # Errors
/// If the store fails, or the batch never stands still for long enough to be read.
pub async fn verify(
    store: &dyn Store,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<Option<Invariants>, StoreError> {
    for _ in 0..READS_MAX {
        let Some(rows) = read(store, tenant, batch).await? else { return Ok(None) };
        // Rows of several moments contradict each other without any fault.
        let now = store.batch(tenant, batch).await?;
        if now.is_some_and(|now| now.event_seq == rows.batch.event_seq) {
            let invariant = |(name, check): Check| {
                let found = check(&rows);
                Invariant { name, holds: found.is_none(), detail: found.unwrap_or_default() }
            };
            let invariants = CHECKS.into_iter().map(invariant).collect();
            return Ok(Some(Invariants { batch_id: batch.clone(), invariants }));
        }
    }
    Err(StoreError::Unavailable(format!("{batch} never stood still; verify it when it has ended")))
}

async fn read(
    store: &dyn Store,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<Option<Rows>, StoreError> {
    let Some(row) = store.batch(tenant, batch).await? else { return Ok(None) };
    let mut entries = Vec::new();
    loop {
        let after = entries.last().map_or(0, |(entry, _): &(EntryRow, Vec<CallRow>)| entry.key.seq);
        let page = store.entries(tenant, batch, after, limits::PAGE_MAX).await?;
        if page.is_empty() {
            break;
        }
        entries.extend(page);
    }
    let mut events = Vec::new();
    loop {
        let after = events.last().map_or(0, |event: &EventRow| event.event_seq);
        let page = store.events(tenant, batch, after, limits::PAGE_MAX).await?;
        if page.is_empty() {
            break;
        }
        events.extend(page);
    }
    let reports = store.reports(tenant, batch).await?;
    Ok(Some(Rows { batch: row, entries, events, reports }))
}

fn lost_entry(rows: &Rows) -> Finding {
    let total = rows.batch.spec.total;
    let found = u32::try_from(rows.entries.len()).unwrap_or(u32::MAX);
    let gap = rows.entries.iter().zip(1..).find(|((entry, _), seq)| entry.key.seq != *seq);
    if let Some((_, seq)) = gap {
        return Some(format!("entry {seq} is missing"));
    }
    (found != total).then(|| format!("{found} of {total} entries are there"))
}

fn recount(rows: &Rows) -> Counters {
    let mut counters = Counters::new();
    for (entry, _) in &rows.entries {
        *counters.entry((entry.state, entry.outcome)).or_default() += 1;
    }
    counters
}

fn counters(rows: &Rows) -> Finding {
    let counted = recount(rows);
    (counted != rows.batch.counters)
        .then(|| format!("counters say {:?}, rows say {counted:?}", rows.batch.counters))
}

fn events_fold(rows: &Rows) -> Finding {
    let mut folded = Counters::from([((EntryState::Pending, None), rows.batch.spec.total)]);
    let mut state = BatchState::Loading;
    for (event, expected) in rows.events.iter().zip(1..) {
        if event.event_seq != expected {
            return Some(format!("event {expected} is missing"));
        }
        let Some(seq) = event.seq else {
            if event.from != state.as_str() {
                return Some(format!("event {expected} leaves {}, not {state}", event.from));
            }
            state = event.to.parse().ok()?;
            continue;
        };
        let (Ok(from), Ok(to)) = (event.from.parse::<EntryState>(), event.to.parse()) else {
            return Some(format!("event {expected} of entry {seq} names no state"));
        };
        match folded.get_mut(&(from, event.from_outcome)) {
            Some(n) if *n > 0 => *n -= 1,
            _ => return Some(format!("event {expected}: no entry is {from}")),
        }
        *folded.entry((to, event.outcome)).or_default() += 1;
    }
    folded.retain(|_, n| *n > 0);
    let same = folded == rows.batch.counters && state == rows.batch.state;
    (!same).then(|| format!("events fold to {state} {folded:?}"))
}

fn attempts(rows: &Rows) -> Finding {
    let most = 1 + rows.batch.spec.options.max_retries;
    let wrong = rows.entries.iter().find(|(entry, calls)| {
        let numbers_run = calls.iter().zip(1..).all(|(call, n)| call.attempt == n);
        calls.len() > most as usize || !numbers_run || entry.attempt as usize != calls.len()
    });
    if let Some((entry, calls)) = wrong {
        let (seq, n) = (entry.key.seq, calls.len());
        return Some(format!(
            "entry {seq} is at attempt {} with {n} of at most {most} calls",
            entry.attempt
        ));
    }
    let total: usize = rows.entries.iter().map(|(_, calls)| calls.len()).sum();
    (total != rows.batch.attempts as usize)
        .then(|| format!("the batch counts {} attempts, rows {total}", rows.batch.attempts))
}

fn dials(rows: &Rows) -> Finding {
    let calls = rows.entries.iter().flat_map(|(_, calls)| calls);
    let claims = calls.filter(|call| call.claimed_at.is_some()).count();
    (claims != rows.batch.dials as usize)
        .then(|| format!("the batch counts {} dials, rows {claims}", rows.batch.dials))
}

/// The outcome of an ended entry is that of its last attempt, unless it ended while it
/// waited for another, and no earlier attempt ended after it.
fn closing_attempt(rows: &Rows) -> Finding {
    rows.entries.iter().filter(|(entry, _)| entry.state.is_terminal()).find_map(|(entry, calls)| {
        let last = calls.last()?;
        let earlier = &calls[..calls.len() - 1];
        let ends = [Some(Outcome::Cancelled), Some(Outcome::Suppressed)];
        let while_waiting = ends.contains(&entry.outcome);
        let fits = last.attempt == entry.attempt
            && (last.outcome == entry.outcome || while_waiting)
            && earlier.iter().all(|call| call.ended_at.is_some() && call.ended_at <= last.ended_at);
        let seq = entry.key.seq;
        (!fits).then(|| format!("entry {seq} was not closed by its attempt {}", entry.attempt))
    })
}

/// From the dial claim to the end of an attempt the callee may hear it; no two such
/// spans of one number overlap.
fn live_calls(rows: &Rows) -> Finding {
    let mut spans: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for (entry, calls) in &rows.entries {
        for call in calls {
            let Some(from) = call.claimed_at else { continue };
            let until = call.ended_at.map_or(i64::MAX, dialtone_clock::Timestamp::as_micros);
            spans.entry(entry.to.expose()).or_default().push((
                from.as_micros(),
                until,
                entry.key.seq,
            ));
        }
    }
    spans.values_mut().find_map(|spans| {
        spans.sort_unstable();
        let twice = spans.windows(2).find(|pair| pair[1].0 < pair[0].1)?;
        Some(format!("entries {} and {} were live at once", twice[0].2, twice[1].2))
    })
}

fn after_terminal(rows: &Rows) -> Finding {
    let moved = rows.events.iter().find(|event| {
        let entry = event.from.parse::<EntryState>().is_ok_and(EntryState::is_terminal);
        let batch = event.from.parse::<BatchState>().is_ok_and(BatchState::is_terminal);
        if event.seq.is_some() { entry } else { batch }
    });
    moved.map(|event| format!("event {} leaves {}", event.event_seq, event.from))
}

fn one_report(rows: &Rows) -> Finding {
    use BatchState::{Cancelled, Cancelling, Completed, Completing};
    let state = rows.batch.state;
    let expected = usize::from(matches!(state, Completed | Cancelled));
    let early = matches!(state, Completing | Cancelling) && rows.reports.len() == 1;
    (rows.reports.len() != expected && !early)
        .then(|| format!("a {} batch has {} reports", rows.batch.state, rows.reports.len()))
}

fn ended(rows: &Rows) -> Finding {
    let over = matches!(rows.batch.state, BatchState::Completed | BatchState::Cancelled);
    let open = rows.entries.iter().find(|(entry, _)| !entry.state.is_terminal());
    open.filter(|_| over)
        .map(|(entry, _)| format!("entry {} is still {}", entry.key.seq, entry.state))
}
