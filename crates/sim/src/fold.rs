use std::collections::BTreeMap;
use std::sync::Arc;

use dialtone_contract::{BatchId, BatchState, EntryEvent, EntryState, TenantId};
use dialtone_store::{BatchRow, Counters, EntryRow, EventRow, Store};

use crate::task::ready;

/// A reader who knows a batch by its events alone, and compares what they add up to with
/// the status and the rows at any moment.
pub struct Fold {
    store: Arc<dyn Store>,
    tenant: TenantId,
    batch: BatchId,
    seq: u64,
    state: BatchState,
    counters: Counters,
    /// State and attempt of each entry that an event has named.
    entries: BTreeMap<u32, (EntryState, u32)>,
    attempts: u32,
    dials: u32,
}

impl Fold {
    pub fn new(store: Arc<dyn Store>, tenant: TenantId, batch: BatchId) -> Self {
        Self {
            store,
            tenant,
            batch,
            seq: 0,
            state: BatchState::Loading,
            counters: Counters::new(),
            entries: BTreeMap::new(),
            attempts: 0,
            dials: 0,
        }
    }

    /// Reads what is new and compares; gives what does not fit.
    pub fn look(&mut self) -> Option<String> {
        let row = ready(self.store.batch(&self.tenant, &self.batch)).ok()??;
        if row.event_seq == self.seq {
            return self.compare(&row);
        }
        if self.seq == 0 {
            self.counters.insert((EntryState::Pending, None), row.spec.total);
        }
        let events = ready(self.store.events(&self.tenant, &self.batch, self.seq, u32::MAX));
        for event in events.ok()? {
            if event.event_seq != self.seq + 1 {
                return Some(format!("fold: no event follows {}", self.seq));
            }
            self.seq = event.event_seq;
            let found = self.follow(&event);
            if found.is_some() {
                return found;
            }
        }
        self.compare(&row)
    }

    fn follow(&mut self, event: &EventRow) -> Option<String> {
        let wrong = |why: &str| {
            let EventRow { event_seq, kind, from, to, .. } = event;
            Some(format!("fold: event {event_seq} {kind} {from} -> {to} {why}"))
        };
        let Some(seq) = event.seq else {
            if event.from != self.state.as_str() || self.state.is_terminal() {
                return wrong("does not follow");
            }
            self.state = event.to.parse().ok()?;
            return None;
        };
        let (Ok(from), Ok(to)) = (event.from.parse::<EntryState>(), event.to.parse()) else {
            return wrong("names no state");
        };
        let attempt = event.attempt.unwrap_or(0);
        let (state, before) = self.entries.get(&seq).copied().unwrap_or((EntryState::Pending, 0));
        let leased = event.kind == EntryEvent::Leased.as_str();
        if from != state || from.is_terminal() || attempt != before + u32::from(leased) {
            return wrong(&format!("does not follow {state} at attempt {before}"));
        }
        let returned = event.kind == EntryEvent::LeaseReturned.as_str();
        self.entries.insert(seq, (to, attempt - u32::from(returned)));
        self.attempts = self.attempts + u32::from(leased) - u32::from(returned);
        self.dials += u32::from(event.kind == EntryEvent::DialClaimed.as_str());
        match self.counters.get_mut(&(from, event.from_outcome)) {
            Some(n) if *n > 0 => *n -= 1,
            _ => return wrong("leaves a state that no entry is in"),
        }
        *self.counters.entry((to, event.outcome)).or_default() += 1;
        self.counters.retain(|_, n| *n > 0);
        None
    }

    fn compare(&self, row: &BatchRow) -> Option<String> {
        let same = self.state == row.state
            && (self.seq == 0 || self.counters == row.counters)
            && (self.attempts, self.dials) == (row.attempts, row.dials);
        (!same).then(|| format!("fold: events up to {} are not the status", self.seq))
    }

    /// Whether the entries' rows stand where their events say.
    pub fn compare_entries(&self, entries: &[EntryRow]) -> Option<String> {
        let differs = entries.iter().find(|row| {
            let known = self.entries.get(&row.key.seq).copied();
            known.unwrap_or((EntryState::Pending, 0)) != (row.state, row.attempt)
        });
        differs
            .map(|row| format!("fold: entry {} is {}, not so its events", row.key.seq, row.state))
    }
}
