use dialtone_batch::verify;
use dialtone_clock::seed_from;
use dialtone_contract::{BatchId, BatchState, EntryEvent, EntryState, PlannedOutcome};
use dialtone_store::{BatchFilter, CallRow, EntryRow};

use crate::Outcome;
use crate::run::Run;
use crate::task::ready;

type Entries = [(EntryRow, Vec<CallRow>)];

impl Run {
    /// Holds what is stored in the end against what happened, and the invariants.
    pub fn judge(mut self) -> Outcome {
        self.outcome.struck = self.world.struck();
        self.outcome.stale = self.guards.stale();
        if let Some(batch) = self.batch.clone() {
            let entries = ready(self.engine.entries(&self.tenant, &batch, 0, u32::MAX));
            let entries = entries.unwrap_or_default();
            let rows: Vec<_> = entries.iter().map(|(entry, _)| entry.clone()).collect();
            self.last_look(&rows);
            self.oracle.compare();
            self.verify(&batch);
            self.rooms(&entries);
            self.obeyed(&batch);
            self.count(&batch, &entries);
            if self.config.is_calm() {
                self.exact(&entries);
            }
            self.hash(&batch);
        }
        self.leftovers();
        let Self { mut outcome, mut oracle, guards, livekit, world, .. } = self;
        outcome.violations.append(&mut oracle.violations);
        outcome.violations.extend(guards.violations());
        outcome.violations.extend(livekit.sent_early());
        outcome.trace = world.trace();
        outcome
    }

    fn violated(&mut self, text: String) {
        self.outcome.violations.push(text);
    }

    fn verify(&mut self, batch: &BatchId) {
        let found = ready(verify(&*self.outside, &self.tenant, batch)).ok().flatten();
        for broken in found.iter().flat_map(|found| found.broken()) {
            self.violated(format!("{}: {}", broken.name, broken.detail));
        }
        let reports = self.guards.reports(batch);
        if reports > 1 {
            self.violated(format!("one_report: {reports} were written"));
        }
    }

    /// Every ended attempt's room is closed in the end.
    fn rooms(&mut self, entries: &Entries) {
        for (entry, calls) in entries {
            for call in calls.iter().filter(|call| call.ended_at.is_some()) {
                let room = entry.key.call_id(call.attempt).to_string();
                if !self.livekit.has_closed(&room) {
                    self.violated(format!("room {room} was never closed"));
                }
            }
        }
    }

    /// Nothing is claimed while the batch is paused or cancelled, nobody dials after its
    /// cancel, and a batch that was cancelled ends so.
    fn obeyed(&mut self, batch: &BatchId) {
        let events = ready(self.engine.events(&self.tenant, batch, 0, u32::MAX));
        let mut state = BatchState::Loading;
        for event in events.unwrap_or_default() {
            let Some(seq) = event.seq else {
                state = event.to.parse().unwrap_or(state);
                continue;
            };
            let held = !matches!(state, BatchState::Accepted | BatchState::Running);
            if held && event.kind == EntryEvent::Leased.as_str() {
                self.violated(format!("entry {seq} was leased while the batch was {state}"));
            }
            let cancelled = matches!(state, BatchState::Cancelling | BatchState::Cancelled);
            if cancelled && event.kind == EntryEvent::DialClaimed.as_str() {
                self.violated(format!("entry {seq} was dialled after the cancel"));
            }
        }
    }

    fn count(&mut self, batch: &BatchId, entries: &Entries) {
        if let Ok(Some(row)) = ready(self.engine.batch(&self.tenant, batch)) {
            (self.outcome.attempts, self.outcome.dials) = (row.attempts, row.dials);
        }
        for (entry, _) in entries {
            let planned = entry.planned.unwrap_or(PlannedOutcome::Completed);
            if entry.outcome == Some(planned.expected()) {
                self.outcome.as_planned[planned as usize] += 1;
            }
        }
    }

    /// With nothing going wrong every entry ends exactly as planned, at its attempts.
    fn exact(&mut self, entries: &Entries) {
        for (entry, calls) in entries {
            let planned = entry.planned.unwrap_or(PlannedOutcome::Completed);
            let attempts = if planned.claims() { 1 } else { 3 };
            let answers = self.oracle.answers(&entry.key.call_id(entry.attempt));
            // The first callback of a lost one is applied and its answer not heard.
            let expected: &[bool] = match planned {
                PlannedOutcome::Completed | PlannedOutcome::Failed => &[true],
                PlannedOutcome::DuplicateCallback => &[true, false],
                PlannedOutcome::LateCallback | PlannedOutcome::LostCallback => &[false],
                _ => &[],
            };
            let fits = entry.state == planned.expected().final_state()
                && entry.state != EntryState::Cancelled
                && entry.outcome == Some(planned.expected())
                && calls.len() == attempts
                && answers == expected;
            if !fits {
                let (seq, state) = (entry.key.seq, entry.state);
                let text = format!(
                    "entry {seq}, planned {planned}, is {state} after {}, applied {answers:?}",
                    calls.len()
                );
                self.violated(text);
            }
        }
    }

    /// One trigger, however often it was sent, makes one batch; what a dying server left
    /// half loaded never runs.
    fn leftovers(&mut self) {
        let batches = ready(self.engine.batches(&self.tenant, &BatchFilter::default(), u32::MAX))
            .unwrap_or_default();
        for row in batches {
            let runs = !matches!(row.state, BatchState::Loading | BatchState::Failed);
            let is_it = Some(&row.id) == self.batch.as_ref();
            if runs != is_it || (!runs && row.attempts > 0) {
                self.violated(format!("{} is {} beside the batch", row.id, row.state));
            }
        }
    }

    fn hash(&mut self, batch: &BatchId) {
        let events = ready(self.engine.events(&self.tenant, batch, 0, u32::MAX));
        let mut hash = self.config.seed;
        for event in events.unwrap_or_default() {
            let outcome = event.outcome.map_or("", |outcome| outcome.as_str());
            let seq = event.seq.unwrap_or(0).to_le_bytes();
            let at = event.at.as_micros().to_le_bytes();
            hash = seed_from(hash, &[event.kind.as_bytes(), &seq, outcome.as_bytes(), &at]);
        }
        self.outcome.trace_hash = hash;
    }
}
