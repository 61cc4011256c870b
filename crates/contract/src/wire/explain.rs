use std::fmt;

use dialtone_clock::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{EntryView, EventView};
use crate::{BatchId, BatchState};

/// One entry with why it stands where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EntryDetail {
    /// The entry with its attempts.
    #[serde(flatten)]
    pub entry: EntryView,
    /// Why it stands there, and what would move it.
    pub explain: Explanation,
}

/// Why an entry is not moving.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The whole of it in one sentence.
    pub summary: String,
    /// The batch.
    pub batch_id: BatchId,
    /// Where the batch stands.
    pub batch_status: BatchState,
    /// Why it stands there, where that needs saying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_reason: Option<String>,
    /// Attempts begun.
    pub attempts: u32,
    /// Attempts at most.
    pub attempts_max: u32,
    /// The moment that the rest speaks of, in product time.
    pub now: Timestamp,
    /// The entry's last event; null before the first.
    pub last_event: Option<EventView>,
    /// The moment at which time alone moves the entry; null if none does.
    pub due: Option<Due>,
    /// What holds it now, the strongest first; empty if nothing does.
    pub held_by: Vec<Hold>,
    /// What would move it; empty if nothing can.
    pub moved_by: Vec<Mover>,
}

/// A moment at which time alone moves the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Due {
    /// `claim` or `deadline`.
    pub kind: String,
    /// When, in product time.
    pub at: Timestamp,
    /// How far away that is, in product milliseconds; negative once it has passed.
    pub in_ms: i64,
    /// What happens then.
    pub detail: String,
}

/// Something that keeps the entry where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hold {
    /// What it is, as a stable code: `batch_paused`, `concurrency_full`, ...
    pub code: String,
    /// What it is, for people.
    pub detail: String,
    /// When it ends by itself, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Something that would move the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mover {
    /// The event that it would be recorded as.
    pub event: String,
    /// What has to happen.
    pub detail: String,
}

/// Column in which the values begin.
const VALUES: usize = 12;

impl fmt::Display for EntryDetail {
    /// Aligned lines, with a line break after each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (entry, explain) = (&self.entry, &self.explain);
        let mut line =
            |name: &str, value: &dyn fmt::Display| writeln!(f, "{name:>VALUES$} {value}");
        line("entry", &format_args!("{}, {}", entry.entry_id, entry.to))?;
        let outcome = entry.outcome.map(|outcome| format!(", {outcome}")).unwrap_or_default();
        let (n, most) = (explain.attempts, explain.attempts_max);
        line("state", &format_args!("{}{outcome}, attempt {n} of {most}", entry.state))?;
        let reason = explain.batch_reason.as_ref().map(|why| format!(", {why}"));
        let reason = reason.unwrap_or_default();
        line("batch", &format_args!("{}, {}{reason}", explain.batch_id, explain.batch_status))?;
        line("now", &explain.now)?;
        match &explain.last_event {
            Some(event) => line("last event", &format_args!("{} at {}", event.kind, event.at))?,
            None => line("last event", &"none yet")?,
        }
        if let Some(due) = &explain.due {
            let away = Away(due.in_ms);
            line(&due.kind, &format_args!("{} ({away}): {}", due.at, due.detail))?;
        }
        for hold in &explain.held_by {
            let until = hold.until.map(|at| format!(" until {at}")).unwrap_or_default();
            line("held by", &format_args!("{}: {}{until}", hold.code, hold.detail))?;
        }
        for mover in &explain.moved_by {
            line("moved by", &format_args!("{}: {}", mover.event, mover.detail))?;
        }
        for attempt in &entry.attempts {
            let ended = attempt.ended_at.map(|at| format!(", ended {at}")).unwrap_or_default();
            let why = attempt.reason.as_ref().map(|why| format!(", {why}")).unwrap_or_default();
            let (n, state) = (attempt.attempt, attempt.state);
            line(&format!("attempt {n}"), &format_args!("{state}{ended}{why}"))?;
        }
        line("so", &explain.summary)
    }
}

/// How far away a moment is, in product milliseconds.
struct Away(i64);

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tenths, sign) = (self.0.unsigned_abs() / 100, self.0 < 0);
        let (whole, rest) = (tenths / 10, tenths % 10);
        if sign { write!(f, "{whole}.{rest} s ago") } else { write!(f, "in {whole}.{rest} s") }
    }
}
