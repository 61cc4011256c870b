//! What the entries of a test batch say, page by page: counts, attempts and everything that an
//! invariant forbids. Holds examples, not entries, so that a million of them fit.

use std::collections::BTreeMap;

use dialtone_contract::wire::{AttemptView, EntryView};
use dialtone_contract::{
    EntryState, Outcome, OutcomeWeights, PlannedOutcome, ScriptedFaults, TestMix,
};

use crate::outage::Outages;

/// Examples that are kept of one kind of trouble.
const EXAMPLES: usize = 10;

/// Troubles of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// How many there are.
    pub count: u32,
    /// The first of them.
    pub examples: Vec<String>,
}

impl Troubles {
    fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example());
        }
    }

    /// The examples, and how many more there are.
    pub fn told(&self) -> Vec<String> {
        let mut told = self.examples.clone();
        let more = self.count as usize - told.len();
        if more > 0 {
            told.push(format!("and {more} more"));
        }
        told
    }
}

/// Causes that are kept, and ids that are kept of each.
const CAUSES: usize = 8;
const IDS: usize = 3;

/// Troubles that share causes: one lost minute can spoil a thousand entries in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouped {
    /// How many there are.
    pub count: u32,
    by_cause: BTreeMap<String, (u32, Vec<String>)>,
}

impl Grouped {
    fn add(&mut self, cause: String, id: &str) {
        self.count += 1;
        let (count, ids) = self.by_cause.entry(cause).or_default();
        *count += 1;
        if ids.len() < IDS {
            ids.push(id.to_owned());
        }
    }

    /// The causes alone, the most frequent first.
    pub fn causes(&self) -> String {
        let mut causes: Vec<_> = self.by_cause.iter().collect();
        causes.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        let told = causes.iter().take(CAUSES).map(|(cause, (count, _))| format!("{count} {cause}"));
        told.collect::<Vec<_>>().join(", ")
    }

    /// A line for each cause, the most frequent first.
    pub fn told(&self) -> Vec<String> {
        let mut causes: Vec<_> = self.by_cause.iter().collect();
        causes.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        let more = causes.len().saturating_sub(CAUSES);
        causes.truncate(CAUSES);
        let line = |(cause, (count, ids)): (&String, &(u32, Vec<String>))| {
            let rest = if *count as usize > ids.len() { ", .." } else { "" };
            format!("{count} {cause}: {}{rest}", ids.join(", "))
        };
        let mut told: Vec<String> = causes.into_iter().map(line).collect();
        if more > 0 {
            told.push(format!("and {more} other causes"));
        }
        told
    }
}

/// What became of the entries of one plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Entries with this plan.
    pub planned: u32,
    /// Those of them that ended as planned.
    pub as_planned: u32,
    /// Those of them that an outage cost another end.
    pub lost: u32,
    /// Those of them that the batch's cancel ended.
    pub cut: u32,
    /// Attempts that they took.
    pub attempts: u32,
}

/// Everything that the entries say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    attempts_max: u32,
    outages: Outages,
    cancelled: bool,
    /// Entries seen.
    pub entries: u32,
    /// By plan.
    pub plans: BTreeMap<PlannedOutcome, Line>,
    /// By state.
    pub by_state: BTreeMap<EntryState, u32>,
    /// Ended entries by outcome.
    pub by_outcome: BTreeMap<Outcome, u32>,
    /// Attempts of all entries.
    pub attempts: u32,
    /// Attempts that never left for LiveKit.
    pub undispatched: u32,
    /// Attempts whose job no worker shall take.
    pub unwanted: u32,
    /// Attempts whose job may be in no count because its worker or LiveKit was killed.
    pub forgotten: u32,
    /// Attempts whose dial was claimed.
    pub dials: u32,
    /// Entries that did not end as planned.
    pub wrong: Grouped,
    /// Entries that did not end as planned because their closing attempt met an outage.
    pub lost: Grouped,
    /// Entries that the batch's cancel ended.
    pub cut: u32,
    /// Those of them whose dial was claimed.
    pub cut_live: u32,
    /// Those of them that would have been dialled and were not.
    pub cut_undialled: u32,
    /// Those of the lost whose dial was never claimed.
    pub lost_undialled: u32,
    /// Attempts that were under way while a service was away.
    pub excused: u32,
    /// Those of them that made another attempt needed.
    pub repeated: u32,
    /// Those of them whose dial an agent held then.
    pub caught_live: u32,
    /// Attempts of entries that claim, which the platform gave up.
    pub false_expiries: Grouped,
    /// Entries that have not ended, or whose state and outcome contradict each other.
    pub unsettled: Troubles,
    /// Places in the batch that are missing or come twice.
    pub misplaced: Troubles,
    /// Entries with more attempts than allowed, or more dials than attempts.
    pub overdone: Troubles,
    /// Entries that another attempt than the current one closed, or whose attempts are not closed.
    pub not_current: Troubles,
}

impl Tally {
    /// Nothing seen yet; an entry may take `attempts_max` attempts.
    pub fn new(attempts_max: u32) -> Self {
        Self {
            attempts_max,
            outages: Outages::default(),
            cancelled: false,
            entries: 0,
            plans: BTreeMap::new(),
            by_state: BTreeMap::new(),
            by_outcome: BTreeMap::new(),
            attempts: 0,
            undispatched: 0,
            unwanted: 0,
            forgotten: 0,
            dials: 0,
            wrong: Grouped::default(),
            lost: Grouped::default(),
            cut: 0,
            cut_live: 0,
            cut_undialled: 0,
            lost_undialled: 0,
            excused: 0,
            repeated: 0,
            caught_live: 0,
            false_expiries: Grouped::default(),
            unsettled: Troubles::default(),
            misplaced: Troubles::default(),
            overdone: Troubles::default(),
            not_current: Troubles::default(),
        }
    }

    /// What these outages did to an attempt is nobody's fault.
    #[must_use]
    pub fn excusing(self, outages: Outages) -> Self {
        Self { outages, ..self }
    }

    /// The batch was cancelled: its entries may have ended by that.
    #[must_use]
    pub fn cancelled(self, cancelled: bool) -> Self {
        Self { cancelled, ..self }
    }

    /// Takes the next entry; they come by place in the batch.
    pub fn add(&mut self, entry: &EntryView) {
        self.entries += 1;
        if entry.seq != self.entries {
            let expected = self.entries;
            self.misplaced.add(|| format!("entry {} where {expected} belongs", entry.seq));
        }
        *self.by_state.entry(entry.state).or_default() += 1;
        if let Some(outcome) = entry.outcome.filter(|_| entry.state.is_terminal()) {
            *self.by_outcome.entry(outcome).or_default() += 1;
        }
        let attempts = count(&entry.attempts);
        self.attempts += attempts;
        self.undispatched +=
            count(entry.attempts.iter().filter(|attempt| attempt.dispatched_at.is_none()));
        self.dials += count(entry.attempts.iter().filter(|attempt| attempt.claimed_at.is_some()));
        if entry.planned_outcome.is_some_and(|plan| !plan.is_accepted()) {
            let left = entry.attempts.iter().filter(|attempt| attempt.dispatched_at.is_some());
            self.unwanted += count(left);
        } else {
            let met = entry.attempts.iter().filter(|attempt| self.outages.forgot(attempt));
            self.forgotten += count(met);
        }
        if let Some(plan) = entry.planned_outcome {
            self.add_plan(entry, plan, attempts);
        }
        if self.is_cut(entry) {
            self.cut += 1;
            self.cut_live += u32::from(dialled(entry));
        }
        self.add_outages(entry);
        self.add_expiries(entry);
        self.add_invariants(entry, attempts);
    }

    fn add_plan(&mut self, entry: &EntryView, plan: PlannedOutcome, attempts: u32) {
        let expected = plan.expected();
        let as_planned = entry.outcome == Some(expected) && entry.state == expected.final_state();
        let closing = entry.attempts.last();
        let lost = closing.filter(|closing| !as_planned && self.is_lost(entry, closing));
        let cut = self.is_cut(entry);
        let line = self.plans.entry(plan).or_default();
        line.planned += 1;
        line.attempts += attempts;
        line.as_planned += u32::from(as_planned);
        line.lost += u32::from(lost.is_some());
        if as_planned {
            return;
        }
        if cut {
            line.cut += 1;
            self.cut_undialled += u32::from(plan.claims() && !dialled(entry));
            return;
        }
        let cause = format!("planned {plan}, ended {} ({})", entry.state, outcome(entry.outcome));
        let id = entry.entry_id.as_str();
        match lost {
            Some(closing) => {
                self.lost_undialled += u32::from(plan.claims() && closing.claimed_at.is_none());
                self.lost.add(cause, id);
            }
            None => self.wrong.add(cause, id),
        }
    }

    /// Whether the batch's cancel ended it.
    fn is_cut(&self, entry: &EntryView) -> bool {
        self.cancelled && entry.outcome == Some(Outcome::Cancelled)
    }

    /// Whether an outage explains how the entry ended: the platform gave its closing attempt up,
    /// and a service was away meanwhile.
    fn is_lost(&self, entry: &EntryView, closing: &AttemptView) -> bool {
        let given_up =
            |outcome: Outcome| outcome.is_timeout() || outcome == Outcome::DispatchFailed;
        entry.outcome.is_some_and(given_up) && self.outages.excuse(closing)
    }

    fn add_outages(&mut self, entry: &EntryView) {
        let claims = entry.planned_outcome.is_some_and(PlannedOutcome::claims);
        let closing = entry.attempts.len().saturating_sub(1);
        let met = entry.attempts.iter().enumerate();
        for (at, attempt) in met.filter(|(_, attempt)| self.outages.excuse(attempt)) {
            self.excused += 1;
            self.repeated += u32::from(claims && at < closing);
            self.caught_live += u32::from(attempt.claimed_at.is_some());
        }
    }

    /// A deadline that passed on a call which was going to end otherwise. A refusal by LiveKit has
    /// words of its own; where the outcome alone is the reason, the lease ran out before an answer
    /// came.
    fn add_expiries(&mut self, entry: &EntryView) {
        // Without a plan, whatever nobody claims may have been meant so.
        let planned =
            entry.planned_outcome.map_or(Outcome::TimeoutUnclaimed, PlannedOutcome::expected);
        for attempt in &entry.attempts {
            if self.outages.excuse(attempt) {
                continue;
            }
            if attempt.reason.as_deref() == Some(Outcome::DispatchFailed.as_str()) {
                let cause = "ended as dispatch_failed (its lease ran out)".to_owned();
                self.false_expiries.add(cause, attempt.call_id.as_str());
                continue;
            }
            let Some(how) = ended_by_platform(attempt) else { continue };
            if how != planned {
                self.false_expiries.add(format!("ended as {how}"), attempt.call_id.as_str());
            }
        }
    }

    fn add_invariants(&mut self, entry: &EntryView, attempts: u32) {
        let id = &entry.entry_id;
        let settled = entry.outcome.is_some_and(|outcome| outcome.final_state() == entry.state);
        if !settled {
            let said = outcome(entry.outcome);
            self.unsettled.add(|| format!("{id} is {} with outcome {said}", entry.state));
        }
        let dials = count(entry.attempts.iter().filter(|attempt| attempt.claimed_at.is_some()));
        if attempts > self.attempts_max || dials > attempts {
            let most = self.attempts_max;
            self.overdone
                .add(|| format!("{id} took {attempts} attempts ({most} allowed), {dials} dials"));
        }
        if let Some(why) = closed_wrongly(entry) {
            self.not_current.add(|| format!("{id}: {why}"));
        }
    }

    /// What became of the entries of one plan.
    pub fn line(&self, plan: PlannedOutcome) -> Line {
        self.plans.get(&plan).copied().unwrap_or_default()
    }

    /// How many entries had which plan.
    pub fn planned(&self) -> TestMix {
        let planned = |plan| self.line(plan).planned;
        let weights = OutcomeWeights {
            completed: planned(PlannedOutcome::Completed),
            failed: planned(PlannedOutcome::Failed),
            stuck: planned(PlannedOutcome::Stuck),
            dropped: planned(PlannedOutcome::Dropped),
        };
        let faults = ScriptedFaults {
            late_callback: planned(PlannedOutcome::LateCallback),
            duplicate_callback: planned(PlannedOutcome::DuplicateCallback),
            lost_callback: planned(PlannedOutcome::LostCallback),
            crash_in_call: planned(PlannedOutcome::CrashInCall),
            never_accepts: planned(PlannedOutcome::NeverAccepts),
            rings_forever: planned(PlannedOutcome::RingsForever),
        };
        TestMix { weights, faults }
    }

    /// How many entries ended with this outcome.
    pub fn ended(&self, outcome: Outcome) -> u32 {
        self.by_outcome.get(&outcome).copied().unwrap_or(0)
    }
}

/// Whether its dial was ever claimed.
fn dialled(entry: &EntryView) -> bool {
    entry.attempts.iter().any(|attempt| attempt.claimed_at.is_some())
}

/// Why the last attempt cannot be what closed the entry.
fn closed_wrongly(entry: &EntryView) -> Option<String> {
    for (attempt, number) in entry.attempts.iter().zip(1..) {
        if attempt.attempt != number {
            return Some(format!("attempt {} where {number} belongs", attempt.attempt));
        }
        if !attempt.state.is_closed() || attempt.ended_at.is_none() {
            return Some(format!("attempt {number} is still {}", attempt.state));
        }
    }
    let last = entry.attempts.last();
    let claimed = last.is_some_and(|attempt| attempt.claimed_at.is_some());
    match entry.outcome? {
        Outcome::Completed | Outcome::Failed if !claimed => {
            Some("the current attempt reported without a dial claim".to_owned())
        }
        Outcome::TimeoutUnclaimed if claimed => {
            Some("the current attempt was claimed and ended as timeout_unclaimed".to_owned())
        }
        _ => None,
    }
}

/// The timeout that ended the attempt, if one did. The reason begins with the outcome's name.
fn ended_by_platform(attempt: &AttemptView) -> Option<Outcome> {
    let reason = attempt.reason.as_deref()?;
    let name = reason.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
    name.parse().ok().filter(|outcome: &Outcome| outcome.is_timeout())
}

fn outcome(outcome: Option<Outcome>) -> &'static str {
    outcome.map_or("none", Outcome::as_str)
}

fn count<T>(items: impl IntoIterator<Item = T>) -> u32 {
    u32::try_from(items.into_iter().count()).unwrap_or(u32::MAX)
}
