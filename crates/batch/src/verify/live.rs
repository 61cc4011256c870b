use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use dialtone_clock::Timestamp;
use dialtone_store::{CallRow, EntryRow};

/// From when until when a callee may have heard an attempt, and whose it is.
type Span = (i64, i64, u32);

/// Looks for two calls to one number that were live at once. What it keeps of a number
/// that one entry alone calls is eight bytes; the spans of the others are looked at in a
/// second reading of the rows.
#[derive(Default)]
pub(super) struct LiveCalls {
    dialled: Vec<u64>,
    spans: BTreeMap<u64, Vec<Span>>,
    overlap: Option<(u32, u32)>,
}

/// From the dial claim to the end of an attempt the callee may hear it.
fn spans(entry: &EntryRow, calls: &[CallRow]) -> Vec<Span> {
    let until = |call: &CallRow| call.ended_at.map_or(i64::MAX, Timestamp::as_micros);
    let claimed = calls.iter().filter_map(|call| Some((call.claimed_at?, call)));
    claimed.map(|(from, call)| (from.as_micros(), until(call), entry.key.seq)).collect()
}

fn number(entry: &EntryRow) -> u64 {
    // The same in every process: nothing about it is random.
    let mut hash = DefaultHasher::new();
    entry.to.expose().hash(&mut hash);
    hash.finish()
}

fn overlap(spans: &mut [Span]) -> Option<(u32, u32)> {
    spans.sort_unstable();
    let twice = spans.windows(2).find(|pair| pair[1].0 < pair[0].1)?;
    Some((twice[0].2, twice[1].2))
}

impl LiveCalls {
    pub(super) fn entry(&mut self, entry: &EntryRow, calls: &[CallRow]) {
        let mut spans = spans(entry, calls);
        if !spans.is_empty() {
            self.dialled.push(number(entry));
            self.overlap = self.overlap.or_else(|| overlap(&mut spans));
        }
    }

    /// Whether several entries called one number, so that the rows must be read again.
    pub(super) fn looks_twice(&mut self) -> bool {
        self.dialled.sort_unstable();
        let shared = self.dialled.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        let shared: BTreeSet<u64> = shared.collect();
        self.dialled = Vec::new();
        self.spans = shared.into_iter().map(|number| (number, Vec::new())).collect();
        !self.spans.is_empty()
    }

    /// The second reading.
    pub(super) fn again(&mut self, entry: &EntryRow, calls: &[CallRow]) {
        if let Some(known) = self.spans.get_mut(&number(entry)) {
            known.extend(spans(entry, calls));
        }
    }

    /// Two entries that were live at once.
    pub(super) fn finish(mut self) -> Option<(u32, u32)> {
        let shared = || self.spans.values_mut().find_map(|spans| overlap(spans));
        self.overlap.or_else(shared)
    }
}
