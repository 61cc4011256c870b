//! The invariants that anyone can check from outside, through the public API alone.

use std::collections::BTreeMap;

use dialtone_contract::wire::BatchStatus;
use dialtone_contract::{BatchState, EntryState, Outcome};
use serde::Deserialize;

use crate::envelope::Invariant;
use crate::tally::{Tally, Troubles};

/// What `dialtone verify --json` prints.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Verified {
    /// Its recount from rows.
    pub invariants: Vec<Recount>,
}

/// One line of it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Recount {
    /// The invariant.
    pub name: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was seen.
    #[serde(default)]
    pub detail: Option<String>,
}

/// What a recount must speak of.
pub const RECOUNTED: [&str; 10] = [
    "no_lost_entry",
    "counters_equal_rows",
    "events_fold_to_status",
    "attempts_within_limits",
    "dials_equal_claims",
    "closing_attempt_is_current",
    "one_live_call_per_number",
    "nothing_after_terminal",
    "one_report",
    "ended_batch_has_ended_entries",
];

impl Verified {
    /// Why this is no whole answer, if it is none. `success` says whether the command ended well,
    /// which it must where all holds.
    pub fn incomplete(&self, success: bool) -> Option<String> {
        let named = |name: &&str| self.invariants.iter().any(|line| line.name == *name);
        let missing: Vec<&str> = RECOUNTED.into_iter().filter(|name| !named(name)).collect();
        if !missing.is_empty() {
            return Some(format!("it does not speak of {}", missing.join(", ")));
        }
        let broken = self.invariants.iter().any(|line| !line.holds);
        (!success && !broken).then(|| "it failed although all that it names holds".to_owned())
    }
}

impl From<Recount> for Invariant {
    fn from(line: Recount) -> Self {
        let detail = if line.holds { None } else { line.detail };
        Self { name: line.name, holds: line.holds, detail }
    }
}

/// Checks the last status and all entries against each other. `report` says why the report cannot
/// be read, if it cannot.
pub fn check(
    status: &BatchStatus,
    tally: &Tally,
    attempts_max: u32,
    report: Result<(), String>,
) -> Vec<Invariant> {
    vec![
        troubles("one_terminal_state", &tally.unsettled),
        plain("no_lost_entry", lost(status, tally)),
        differences("counters_equal_rows", &drift(status, tally)),
        plain("attempts_within_limits", unbounded(status, tally, attempts_max)),
        troubles("closing_attempt_is_current", &tally.not_current),
        plain("one_report", reported(status, report)),
    ]
}

fn lost(status: &BatchStatus, tally: &Tally) -> Result<(), String> {
    if tally.entries != status.total_calls {
        return Err(format!("{} entries of {} are there", tally.entries, status.total_calls));
    }
    if tally.misplaced.count > 0 {
        return Err(tally.misplaced.told().join("; "));
    }
    Ok(())
}

fn reported(status: &BatchStatus, report: Result<(), String>) -> Result<(), String> {
    match status.status {
        BatchState::Completed | BatchState::Cancelled => report,
        other => Err(format!("the batch is {other}")),
    }
}

fn unbounded(status: &BatchStatus, tally: &Tally, attempts_max: u32) -> Result<(), String> {
    if tally.overdone.count > 0 {
        return Err(tally.overdone.told().join("; "));
    }
    let most = u64::from(tally.entries) * u64::from(attempts_max);
    let (dials, attempts) = (status.dials, status.attempts);
    if dials > attempts || u64::from(attempts) > most {
        return Err(format!("{dials} dials, {attempts} attempts, at most {most} allowed"));
    }
    Ok(())
}

/// Every figure of the status against the same figure counted from the entries.
pub(crate) fn drift(status: &BatchStatus, tally: &Tally) -> Vec<String> {
    let state = |state| tally.by_state.get(&state).copied().unwrap_or(0);
    let states = |pick: fn(EntryState) -> bool| {
        tally.by_state.iter().filter(|(state, _)| pick(**state)).map(|(_, n)| n).sum::<u32>()
    };
    let figures = [
        ("completed_calls", status.completed_calls, state(EntryState::Completed)),
        ("failed_calls", status.failed_calls, state(EntryState::Failed)),
        ("cancelled_calls", status.cancelled_calls, state(EntryState::Cancelled)),
        ("pending_calls", status.pending_calls, states(EntryState::is_waiting)),
        ("in_flight", status.in_flight, states(EntryState::is_in_flight)),
        ("attempts", status.attempts, tally.attempts),
        ("dials", status.dials, tally.dials),
    ];
    let mut drift: Vec<String> = figures
        .iter()
        .filter(|(_, said, counted)| said != counted)
        .map(|(name, said, counted)| format!("{name} is {said}, the entries say {counted}"))
        .collect();
    let counted = tally.by_state.iter().map(|(state, n)| (state.as_str(), *n)).collect();
    let said = status.by_state.iter().map(|(state, n)| (state.as_str(), *n)).collect();
    drift.extend(map_drift("by_state", &said, &counted));
    let name = |(outcome, n): (&Outcome, &u32)| (outcome.as_str(), *n);
    let counted = tally.by_outcome.iter().map(name).collect();
    let said = status.by_outcome.iter().map(name).collect();
    drift.extend(map_drift("by_outcome", &said, &counted));
    drift
}

/// An absent key counts as 0.
fn map_drift(map: &str, said: &BTreeMap<&str, u32>, counted: &BTreeMap<&str, u32>) -> Vec<String> {
    let mut keys: Vec<&str> = said.keys().chain(counted.keys()).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    let of = |map: &BTreeMap<&str, u32>, key: &str| map.get(key).copied().unwrap_or(0);
    keys.into_iter()
        .filter(|key| of(said, key) != of(counted, key))
        .map(|key| {
            let (said, counted) = (of(said, key), of(counted, key));
            format!("{map}.{key} is {said}, the entries say {counted}")
        })
        .collect()
}

fn plain(name: &str, answer: Result<(), String>) -> Invariant {
    Invariant { name: name.to_owned(), holds: answer.is_ok(), detail: answer.err() }
}

fn differences(name: &str, differences: &[String]) -> Invariant {
    let answer = if differences.is_empty() { Ok(()) } else { Err(differences.join("; ")) };
    plain(name, answer)
}

fn troubles(name: &str, troubles: &Troubles) -> Invariant {
    let answer = if troubles.count == 0 { Ok(()) } else { Err(troubles.told().join("; ")) };
    plain(name, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_or_incomplete_recount_is_no_answer() {
        let line = |name: &str| Recount { name: name.into(), holds: true, detail: None };
        let mut all = Verified { invariants: RECOUNTED.map(line).to_vec() };
        assert_eq!(all.incomplete(true), None);
        assert!(all.incomplete(false).is_some_and(|why| why.contains("it failed although")));
        all.invariants[3].holds = false;
        assert_eq!(all.incomplete(false), None, "what is broken is told by its name");
        all.invariants.remove(8);
        assert_eq!(all.incomplete(true).as_deref(), Some("it does not speak of one_report"));
        let none = Verified { invariants: Vec::new() };
        assert!(none.incomplete(true).is_some_and(|why| why.contains("no_lost_entry, ")));
    }
}
