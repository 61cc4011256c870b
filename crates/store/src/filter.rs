use dialtone_contract::{BatchId, BatchState, EntryState, Outcome};

use crate::EntryRow;

/// Which of a tenant's batches are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchFilter {
    /// Only those in this state.
    pub state: Option<BatchState>,
    /// Only those older than this one.
    pub before: Option<BatchId>,
}

/// Which entries of a batch are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// Only those in this state.
    pub state: Option<EntryState>,
    /// Only those with this outcome.
    pub outcome: Option<Outcome>,
}

impl EntryFilter {
    /// Whether the entry is wanted.
    pub fn takes(&self, entry: &EntryRow) -> bool {
        self.state.is_none_or(|state| state == entry.state)
            && self.outcome.is_none_or(|outcome| Some(outcome) == entry.outcome)
    }
}
