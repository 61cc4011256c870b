use std::collections::BTreeMap;
use std::sync::Arc;

use dialtone_contract::wire::ReportedStatus;
use dialtone_contract::{CallId, DispatchMetadata, EntryState, Outcome, TenantId};
use dialtone_store::{CallRow, EntryRow, Store};

use crate::task::ready;
use crate::world::World;

/// What really happened outside the platform, against which its rows are held. Rows can
/// agree with each other and be wrong; a telephone that rings twice cannot.
pub struct Oracle {
    store: Arc<dyn Store>,
    tenant: TenantId,
    /// Whether the batch wants another attempt after one that may have reached the callee.
    redial: bool,
    ringing: BTreeMap<String, CallId>,
    dials: BTreeMap<CallId, u32>,
    closed: BTreeMap<CallId, ReportedStatus>,
    outcomes: BTreeMap<CallId, Outcome>,
    /// Of each answered callback whether it was applied, in the order of the answers.
    applied: BTreeMap<CallId, Vec<bool>>,
    pub violations: Vec<String>,
}

impl Oracle {
    pub fn new(store: Arc<dyn Store>, tenant: TenantId, redial: bool) -> Self {
        Self {
            store,
            tenant,
            redial,
            ringing: BTreeMap::new(),
            dials: BTreeMap::new(),
            closed: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            applied: BTreeMap::new(),
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
    pub fn dial(&mut self, metadata: &DispatchMetadata, claimer: &str, world: &World) {
        let (call, at) = (&metadata.call_id, world.now());
        world.note(|| format!("{call} rings: {claimer}"));
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
    pub fn hang_up(&mut self, metadata: &DispatchMetadata, world: &World) {
        world.note(|| format!("{} is silent", metadata.call_id));
        let number = Self::number(metadata);
        if self.ringing.get(&number) == Some(&metadata.call_id) {
            self.ringing.remove(&number);
        }
    }

    /// The platform confirmed to an agent that its call is over.
    pub fn closed(&mut self, call: &CallId, status: ReportedStatus) {
        self.closed.insert(call.clone(), status);
    }

    /// The platform confirmed an outcome to its agent.
    pub fn acknowledged(&mut self, call: &CallId, outcome: Outcome, applied: bool) {
        self.outcomes.insert(call.clone(), outcome);
        let answers = self.applied.entry(call.clone()).or_default();
        answers.push(applied);
        if answers.iter().filter(|applied| **applied).count() > 1 {
            self.violations.push(format!("the callback of {call} was applied twice"));
        }
    }

    /// Of each answered callback of a call whether it was applied.
    pub fn answers(&self, call: &CallId) -> &[bool] {
        self.applied.get(call).map_or(&[], Vec::as_slice)
    }

    /// Whether a user ended the call.
    fn hung_up(&self, call: &CallId) -> bool {
        self.rows(call).is_some_and(|(_, row)| row.outcome == Some(Outcome::Cancelled))
    }

    /// Holds the rows against what was confirmed and what was dialled.
    pub fn compare(&mut self) {
        for (call, outcome) in std::mem::take(&mut self.outcomes) {
            // A failed call may be followed by another where the batch wants that.
            let last = !self.redial || outcome != Outcome::Failed;
            let kept = self.rows(&call).is_some_and(|(entry, row)| {
                let is_last = entry.outcome == Some(outcome) && entry.attempt == row.attempt;
                row.outcome == Some(outcome) && (is_last || !last)
            });
            let applied = self.answers(&call).contains(&true);
            if !kept && (applied || !self.hung_up(&call)) {
                self.violations.push(format!("{outcome} of {call} was confirmed and then lost"));
            }
        }
        for (call, status) in std::mem::take(&mut self.closed) {
            let completed = status == ReportedStatus::Ended;
            let outcome = if completed { Outcome::Completed } else { Outcome::Failed };
            let kept = self.rows(&call).is_some_and(|(_, row)| row.outcome == Some(outcome));
            if !kept && !self.hung_up(&call) {
                self.violations.push(format!("the end of {call} was confirmed and then lost"));
            }
        }
        let dials: Vec<_> = self.dials.keys().cloned().collect();
        for call in dials {
            let Some((entry, row)) = self.rows(&call) else {
                self.violations.push(format!("{call} was dialled, and there is no such call"));
                continue;
            };
            if row.claimed_at.is_none() {
                self.violations.push(format!("{call} was dialled, and no row says so"));
            }
            let again = entry.attempt > row.attempt && entry.state != EntryState::Cancelled;
            if again && !self.redial {
                self.violations.push(format!("{call} was dialled, and its entry was tried again"));
            }
        }
    }
}
