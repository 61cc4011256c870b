//! A batch as its events tell it: each of them moves the figures, nothing else does.

use std::collections::BTreeMap;

use dialtone_contract::wire::{BatchStatus, EventView};
use dialtone_contract::{BatchState, EntryEvent, EntryState, Outcome};

/// The figures after the events so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// The last event.
    pub seq: u64,
    state: BatchState,
    by_state: BTreeMap<EntryState, u32>,
    by_outcome: BTreeMap<Outcome, u32>,
    attempts: u32,
    dials: u32,
    /// Outcomes that agents reported and that counted.
    pub callbacks: u32,
}

impl Fold {
    /// A batch of so many entries before its first event.
    pub fn new(total: u32) -> Self {
        Self {
            seq: 0,
            state: BatchState::Loading,
            by_state: BTreeMap::from([(EntryState::Pending, total)]),
            by_outcome: BTreeMap::new(),
            attempts: 0,
            dials: 0,
            callbacks: 0,
        }
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// In words, if it cannot be the next one.
    pub fn take(&mut self, event: &EventView) -> Result<(), String> {
        let expected = self.seq + 1;
        let seq = event.event_seq;
        if seq != expected {
            return Err(format!("event {seq} came where {expected} belongs"));
        }
        self.seq = seq;
        let unknown = || format!("event {seq} moves from {} to {}", event.from, event.to);
        if event.entry_id.is_none() {
            if event.from != self.state.as_str() {
                return Err(format!(
                    "event {seq} leaves {}, but the batch is {}",
                    event.from, self.state
                ));
            }
            self.state = event.to.parse().map_err(|_| unknown())?;
            return Ok(());
        }
        let from: EntryState = event.from.parse().map_err(|_| unknown())?;
        let to: EntryState = event.to.parse().map_err(|_| unknown())?;
        match self.by_state.get_mut(&from) {
            Some(n) if *n > 0 => *n -= 1,
            _ => return Err(format!("event {seq} leaves {from}, but no entry is {from}")),
        }
        *self.by_state.entry(to).or_default() += 1;
        if to.is_terminal() {
            let outcome =
                event.outcome.ok_or_else(|| format!("event {seq} ends with no outcome"))?;
            *self.by_outcome.entry(outcome).or_default() += 1;
        }
        let is = |kind: EntryEvent| event.kind == kind.as_str();
        self.attempts += u32::from(is(EntryEvent::Leased));
        self.attempts -= u32::from(is(EntryEvent::LeaseReturned)).min(self.attempts);
        self.dials += u32::from(is(EntryEvent::DialClaimed));
        self.callbacks += u32::from(is(EntryEvent::Reported));
        Ok(())
    }

    /// Entries with an attempt under way.
    pub fn in_flight(&self) -> u32 {
        self.count(EntryState::is_in_flight)
    }

    /// Entries whose callee may hear from their attempt.
    pub fn live(&self) -> u32 {
        self.count(EntryState::is_live)
    }

    fn count(&self, pick: fn(EntryState) -> bool) -> u32 {
        self.by_state.iter().filter(|(state, _)| pick(**state)).map(|(_, n)| n).sum()
    }

    /// What the status at the same event says otherwise, in words.
    pub fn differences(&self, status: &BatchStatus) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |name: &str, said: String, folded: String| {
            if said != folded {
                found.push(format!("{name} is {said}, the events say {folded}"));
            }
        };
        compare("status", status.status.to_string(), self.state.to_string());
        let figures = [
            ("attempts", status.attempts, self.attempts),
            ("dials", status.dials, self.dials),
            ("in_flight", status.in_flight, self.in_flight()),
            ("pending_calls", status.pending_calls, self.count(EntryState::is_waiting)),
            ("completed_calls", status.completed_calls, self.of(EntryState::Completed)),
            ("failed_calls", status.failed_calls, self.of(EntryState::Failed)),
            ("cancelled_calls", status.cancelled_calls, self.of(EntryState::Cancelled)),
        ];
        for (name, said, folded) in figures {
            compare(name, said.to_string(), folded.to_string());
        }
        for state in EntryState::ALL {
            let said = status.by_state.get(state).copied().unwrap_or(0);
            compare(&format!("by_state.{state}"), said.to_string(), self.of(*state).to_string());
        }
        for outcome in Outcome::ALL {
            let of = |map: &BTreeMap<Outcome, u32>| map.get(outcome).copied().unwrap_or(0);
            let (said, folded) = (of(&status.by_outcome), of(&self.by_outcome));
            compare(&format!("by_outcome.{outcome}"), said.to_string(), folded.to_string());
        }
        found
    }

    fn of(&self, state: EntryState) -> u32 {
        self.by_state.get(&state).copied().unwrap_or(0)
    }
}
