//! What the event log shows of a run's kills and of its cancel.

use std::collections::BTreeSet;
use std::time::Duration;

use dialtone_clock::Timestamp;
use dialtone_contract::wire::EventView;
use dialtone_contract::{BatchState, EntryEvent};

use super::fold::Fold;
use crate::drill::Victim;

/// Entries that one mark remembers; more than are under way at once.
const FRESH: usize = 10_000;

/// Notes what matters of each event, in bounded memory.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    marks: Vec<Mark>,
    /// Of each mark, the entries that were leased since and have not been dialled.
    fresh: Vec<BTreeSet<String>>,
    /// The last dispatch or dial claim.
    last_work: Option<Timestamp>,
    /// The cancel, once the events show it.
    pub cancel: Option<Cancelled>,
}

/// A cancel, as the log shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled {
    /// Its event.
    pub seq: u64,
    /// When it was asked for.
    pub at: Timestamp,
    /// Entries with an attempt under way then.
    pub in_flight: u32,
    /// Calls whose callee could hear from their attempt then.
    pub live: u32,
    /// Dial claims behind it.
    pub dials_after: u32,
    /// When the batch had ended.
    pub ended: Option<Timestamp>,
}

/// A kill, as the log shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Who was killed.
    pub victim: Victim,
    /// Before the signal left.
    pub from: Timestamp,
    /// When the process was started again, once it was.
    pub revived: Option<Timestamp>,
    /// Entries with an attempt under way at the kill.
    pub in_flight: u32,
    /// Calls whose callee could hear from their attempt at the kill.
    pub live: u32,
    /// The last sign of work before it.
    pub before: Option<Timestamp>,
    /// The first sign of work of the process that came back.
    pub after: Option<Timestamp>,
}

impl Mark {
    /// From the kill until work went on, in product time; `None` if the log does not show work
    /// before and after.
    pub fn recovery(&self) -> Option<Duration> {
        self.before.filter(|_| self.in_flight > 0)?;
        Some(self.after?.since(self.from))
    }

    /// What is missing for a kill at a busy time, in words.
    pub fn idle(&self) -> Option<&'static str> {
        if self.before.is_none() {
            return Some("no call had been dispatched before");
        }
        if self.in_flight == 0 {
            return Some("no call was under way");
        }
        self.after.is_none().then_some("no call was left that it would have worked on")
    }
}

impl Ledger {
    /// A service is about to be killed. The events until now need not have been read yet.
    pub fn kill(&mut self, victim: Victim, from: Timestamp, fold: Option<&Fold>) -> usize {
        self.marks.push(Mark {
            victim,
            from,
            revived: None,
            in_flight: fold.map_or(0, Fold::in_flight),
            live: fold.map_or(0, Fold::live),
            before: self.last_work,
            after: None,
        });
        self.fresh.push(BTreeSet::new());
        self.marks.len() - 1
    }

    /// The process of this mark was started again.
    pub fn revived(&mut self, mark: usize, at: Timestamp) {
        if let Some(mark) = self.marks.get_mut(mark) {
            mark.revived = Some(at);
        }
    }

    /// The kills so far.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Takes an event; `fold` holds it already.
    pub fn take(&mut self, event: &EventView, fold: &Fold) {
        let is = |kind: EntryEvent| event.kind == kind.as_str();
        let claimed = is(EntryEvent::DialClaimed);
        let work = claimed || is(EntryEvent::DispatchAccepted);
        let entry = event.entry_id.as_ref().map_or("", |entry| entry.as_str());
        let cancelling = self.cancel.is_some();
        for (mark, fresh) in self.marks.iter_mut().zip(&mut self.fresh) {
            if event.at < mark.from {
                (mark.in_flight, mark.live) = (fold.in_flight(), fold.live());
                mark.before = if work { Some(event.at) } else { mark.before };
                continue;
            }
            let new = mark.revived.is_some_and(|revived| event.at > revived);
            if mark.after.is_some() || !new {
                continue;
            }
            if is(EntryEvent::Leased) && fresh.len() < FRESH {
                fresh.insert(entry.to_owned());
            }
            let own = match mark.victim {
                // A batch that is being cancelled dispatches nothing any more.
                Victim::Dialtone => work || (cancelling && !entry.is_empty()),
                // Jobs are dispatched without any worker too.
                Victim::TestWorker => claimed,
                // What was in a room before needs no LiveKit to be dialled; what comes to the
                // dial from the beginning needs it, with its worker back.
                Victim::LivekitDev => claimed && fresh.contains(entry),
            };
            if own {
                mark.after = Some(event.at);
                fresh.clear();
            }
        }
        if work {
            self.last_work = Some(event.at);
        }
        let becomes = |state: BatchState| event.entry_id.is_none() && event.to == state.as_str();
        if let Some(cancel) = &mut self.cancel {
            cancel.dials_after += u32::from(claimed);
            cancel.ended =
                if becomes(BatchState::Cancelled) { Some(event.at) } else { cancel.ended };
        } else if becomes(BatchState::Cancelling) {
            let (in_flight, live) = (fold.in_flight(), fold.live());
            let (seq, at) = (event.event_seq, event.at);
            self.cancel = Some(Cancelled { seq, at, in_flight, live, dials_after: 0, ended: None });
        }
    }
}
