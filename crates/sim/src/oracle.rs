use std::collections::BTreeMap;

use dialtone_clock::Timestamp;
use dialtone_contract::{CallId, DispatchMetadata, EntryState, Outcome, TenantId};
use dialtone_store::memory::MemoryStore;
use dialtone_store::{BatchStore as _, CallRow, EntryRow};
use std::sync::Arc;

use crate::ready;

/// What really happened outside the platform, against which its rows are held. Rows can
/// agree with each other and be wrong; a telephone that rings twice cannot.
pub struct Oracle {
    store: Arc<MemoryStore>,
    tenant: TenantId,
    ringing: BTreeMap<String, CallId>,
    dials: BTreeMap<CallId, u32>,
    outcomes: BTreeMap<CallId, Outcome>,
    pub violations: Vec<String>,
}

impl Oracle {
    pub fn new(store: Arc<MemoryStore>, tenant: TenantId) -> Self {
        Self {
            store,
            tenant,
            ringing: BTreeMap::new(),
            dials: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            violations: Vec::new(),
        }
    }

    fn number(metadata: &DispatchMetadata) -> String {
        metadata.test.as_ref().map(|plan| plan.to.clone()).unwrap_or_default()
    }

    fn rows(&self, call: &CallId) -> Option<(EntryRow, CallRow)> {
        let (key, attempt) = call.parts().ok()?;
        ready(self.store.call(&self.tenant, &key, attempt)).ok()?
    }

    /// An agent rings a number.
    pub fn dial(&mut self, metadata: &DispatchMetadata, claimer: &str, at: Timestamp) {
        let call = &metadata.call_id;
        *self.dials.entry(call.clone()).or_default() += 1;
        if self.dials[call] > 1 {
            self.violations.push(format!("{call} was dialled twice"));
        }
        let claimed = self.rows(call).and_then(|(_, row)| row.claimer);
        if claimed.as_deref() != Some(claimer) {
            self.violations
                .push(format!("{claimer} rang for {call} at {at} without the dial claim"));
        }
        if let Some(other) = self.ringing.insert(Self::number(metadata), call.clone()) {
            self.violations.push(format!("{call} and {other} were live at one number at {at}"));
        }
    }

    /// The callee no longer hears the agent.
    pub fn hang_up(&mut self, metadata: &DispatchMetadata, _at: Timestamp) {
        let number = Self::number(metadata);
        if self.ringing.get(&number) == Some(&metadata.call_id) {
            self.ringing.remove(&number);
        }
    }

    /// The platform confirmed an outcome to its agent.
    pub fn acknowledged(&mut self, call: &CallId, outcome: Outcome) {
        self.outcomes.insert(call.clone(), outcome);
    }

    /// Holds the rows against what was confirmed and what was dialled.
    pub fn compare(&mut self) {
        for (call, outcome) in std::mem::take(&mut self.outcomes) {
            let kept = self.rows(&call).is_some_and(|(entry, row)| {
                row.outcome == Some(outcome)
                    && entry.outcome == Some(outcome)
                    && entry.attempt == row.attempt
            });
            if !kept {
                self.violations.push(format!("{outcome} of {call} was confirmed and then lost"));
            }
        }
        let dials: Vec<_> = self.dials.keys().cloned().collect();
        for call in dials {
            let Some((entry, row)) = self.rows(&call) else { continue };
            if row.claimed_at.is_none() {
                self.violations.push(format!("{call} was dialled, and no row says so"));
            }
            if entry.attempt > row.attempt && entry.state != EntryState::Cancelled {
                self.violations.push(format!("{call} was dialled, and its entry was tried again"));
            }
        }
    }
}
