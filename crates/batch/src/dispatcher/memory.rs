use std::collections::{HashMap, HashSet};

use dialtone_clock::Timestamp;
use dialtone_contract::wire::CallWindow;
use dialtone_contract::{BatchId, EntryKey, TenantId};
use dialtone_store::{BatchRow, EntryRow};

use crate::policy::breaker::Ended;
use crate::policy::schedule::{OpenZones, open_zones};
use crate::policy::share::{Round, Want};

/// Entries whose numbers are in use that are remembered at once; what is forgotten is said
/// once more.
const BUSY_MAX: usize = 10_000;

/// What a dispatcher remembers from look to look. None of it is the truth: without it,
/// after a restart, some of the looks come sooner or are longer.
#[derive(Default)]
pub(super) struct Memory {
    /// Whose turn it is.
    round: Round<TenantId, BatchId>,
    /// The batch behind which the next look for entries to claim begins; the first one if
    /// there is none.
    claimed_up_to: Option<BatchId>,
    /// Entries whose numbers were found in use.
    busy: HashSet<EntryKey>,
    /// When each batch with waves was last looked at.
    waves: HashMap<BatchId, Timestamp>,
    /// Zones that are open, by window: the same for all batches with it.
    zones: Vec<(CallWindow, OpenZones)>,
    /// When a batch that only time holds up can go on, the earliest of all.
    again: Option<Timestamp>,
    /// What the breakers of batches look back on, and when it was read.
    ended: HashMap<BatchId, (Ended, Timestamp)>,
    /// Batches that were told that LiveKit takes no dispatches, since it takes none.
    outage: HashSet<BatchId>,
    /// When the first batch resumes that its breaker has paused.
    resumes: Option<Timestamp>,
}

impl Memory {
    /// A look for entries to claim begins; gives the batch behind which it had better begin.
    pub(super) fn claim(&mut self) -> Option<BatchId> {
        self.again = None;
        self.claimed_up_to.take()
    }

    /// The look has come to this batch, or to the last one.
    pub(super) fn claimed_up_to(&mut self, batch: Option<BatchId>) {
        self.claimed_up_to = batch;
    }

    /// Notes that the entry's number is in use; whether that was not known.
    pub(super) fn newly_busy(&mut self, entry: &EntryKey) -> bool {
        if self.busy.len() >= BUSY_MAX {
            self.busy.clear();
        }
        self.busy.insert(entry.clone())
    }

    /// These have been leased.
    pub(super) fn began(&mut self, leased: &[EntryRow]) {
        if !self.busy.is_empty() {
            for entry in leased {
                self.busy.remove(&entry.key);
            }
        }
    }

    /// Shares so many calls out; see [`Round::share`].
    pub(super) fn share(
        &mut self,
        wants: &[Want<'_, TenantId, BatchId>],
        room: impl Fn(&TenantId) -> u32,
        limit: u32,
    ) -> Vec<(usize, u32)> {
        self.round.share(wants, room, limit)
    }

    /// A look for batches to close begins, in these; `outage` while LiveKit takes nothing.
    pub(super) fn close(&mut self, batches: &[BatchRow], outage: bool) {
        self.resumes = None;
        let known: HashSet<&BatchId> = batches.iter().map(|row| &row.id).collect();
        self.outage.retain(|id| outage && known.contains(id));
        self.waves.retain(|id, _| known.contains(id));
        self.ended.retain(|id, _| known.contains(id));
    }

    /// A batch can go on at `at`.
    pub(super) fn look_again(&mut self, at: Timestamp) {
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }

    /// A batch resumes by itself at `at`, if ever.
    pub(super) fn resumes_at(&mut self, at: Option<Timestamp>) {
        self.resumes = self.resumes.into_iter().chain(at).min();
    }

    /// When the first batch can go on, of those that are held up by nothing but time.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.again.into_iter().chain(self.resumes).filter(|at| *at > after).min()
    }

    /// The batch is told that LiveKit takes no dispatches; whether it had not been told yet.
    pub(super) fn note_outage(&mut self, batch: &BatchId) -> bool {
        self.outage.insert(batch.clone())
    }

    /// Hands out what the batch's breaker looks back on, and when it was read.
    pub(super) fn recall(&mut self, batch: &BatchId) -> Option<(Ended, Option<Timestamp>)> {
        self.ended.remove(batch).map(|(ended, read_at)| (ended, Some(read_at)))
    }

    /// Keeps it for the next look.
    pub(super) fn remember(&mut self, batch: &BatchId, ended: Ended, read_at: Timestamp) {
        self.ended.insert(batch.clone(), (ended, read_at));
    }

    /// Notes a look at the batch's wave; gives when the one before it was.
    pub(super) fn look_at_wave(&mut self, batch: &BatchId, now: Timestamp) -> Option<Timestamp> {
        self.waves.insert(batch.clone(), now)
    }

    /// Names of the zones in which the window is open.
    pub(super) fn open_zones(&mut self, window: &CallWindow, now: Timestamp) -> Vec<String> {
        self.zones.retain(|(_, open)| now < open.until);
        if let Some((_, open)) = self.zones.iter().find(|(known, _)| known == window) {
            return open.names.clone();
        }
        let open = open_zones(window, now);
        let names = open.names.clone();
        self.zones.push((window.clone(), open));
        names
    }
}
