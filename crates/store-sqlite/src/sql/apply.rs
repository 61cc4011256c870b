//! The one writer of entry and batch states.

use dialtone_contract::{BatchId, TenantId};
use dialtone_store::{Applied, BatchTransition, Change, EventRow, Transition};
use rusqlite::Connection;

use super::{batches, calls, counters, entries, events, numbers, outbox};
use crate::convert::Result;

/// Makes each change whose expectation holds, in order; one answer each.
///
/// What changes of one batch add to its figures is written once for all of them. Nobody
/// can see the figures in between: readers see what is committed.
pub(crate) fn apply<'a>(
    connection: &Connection,
    changes: impl IntoIterator<Item = &'a Change>,
) -> Result<Vec<Applied>> {
    let mut answers = Vec::new();
    let mut open: Vec<Figures<'a>> = Vec::new();
    for change in changes {
        let place = answers.len();
        answers.push(Applied::Stale);
        match change {
            Change::Entry(change) => {
                if move_entry(connection, change)? {
                    let figures = Figures::of(&mut open, &change.tenant, &change.key.batch);
                    figures.add(place, change);
                }
            }
            Change::Batch(change) => {
                // The batch's own event comes after those of the changes before it.
                let own = |figures: &Figures<'_>| figures.batch == &change.batch;
                if let Some(at) = open.iter().position(own) {
                    open.swap_remove(at).write(connection, &mut answers)?;
                }
                answers[place] = apply_batch(connection, change)?;
            }
        }
    }
    for figures in open {
        figures.write(connection, &mut answers)?;
    }
    Ok(answers)
}

/// Moves an entry, and what hangs on it; `false` if it is not where the change expects it.
fn move_entry(connection: &Connection, change: &Transition) -> Result<bool> {
    if !entries::compare_and_swap(connection, change)? {
        return Ok(false);
    }
    let tenant = &change.tenant;
    calls::patch(connection, tenant, &change.key, change.attempt, &change.call)?;
    if let Some(release) = &change.number {
        numbers::release(connection, tenant, &change.key, release)?;
    }
    for item in &change.outbox {
        outbox::add(connection, tenant, item, change.at)?;
    }
    Ok(true)
}

/// What changes to entries of one batch add to its figures.
struct Figures<'a> {
    tenant: &'a TenantId,
    batch: &'a BatchId,
    moves: counters::Moves,
    delta: batches::Delta,
    /// The changes, each with the place of its answer.
    changes: Vec<(usize, &'a Transition)>,
}

impl<'a> Figures<'a> {
    fn of<'o>(open: &'o mut Vec<Self>, tenant: &'a TenantId, batch: &'a BatchId) -> &'o mut Self {
        let own = |figures: &Self| figures.batch == batch && figures.tenant == tenant;
        let at = open.iter().position(own).unwrap_or_else(|| {
            let (moves, delta) = Default::default();
            open.push(Self { tenant, batch, moves, delta, changes: Vec::new() });
            open.len() - 1
        });
        &mut open[at]
    }

    fn add(&mut self, place: usize, change: &'a Transition) {
        self.moves.leave((change.from, change.from_outcome));
        self.moves.enter((change.to, change.outcome), 1);
        self.delta.events += u32::from(change.event.is_recorded());
        self.delta.attempts += i64::from(change.new_attempt) - i64::from(change.attempt);
        self.delta.dials += u32::from(change.dial);
        self.changes.push((place, change));
    }

    fn write(self, connection: &Connection, answers: &mut [Applied]) -> Result<()> {
        let Self { tenant, batch, moves, delta, changes } = self;
        moves.write(connection, tenant, batch)?;
        let mut event_seq = batches::add(connection, tenant, batch, &delta)?;
        event_seq -= u64::from(delta.events);
        for (place, change) in changes {
            if change.event.is_recorded() {
                event_seq += 1;
                let event = EventRow::of_entry(event_seq, change);
                events::record(connection, tenant, batch, &event)?;
            }
            answers[place] = Applied::Applied { event_seq };
        }
        Ok(())
    }
}

pub(crate) fn apply_batch(connection: &Connection, change: &BatchTransition) -> Result<Applied> {
    let Some(event_seq) = batches::move_to(connection, change)? else {
        return Ok(Applied::Stale);
    };
    let event = EventRow::of_batch(event_seq, change);
    events::record(connection, &change.tenant, &change.batch, &event)?;
    for item in &change.outbox {
        outbox::add(connection, &change.tenant, item, change.at)?;
    }
    Ok(Applied::Applied { event_seq })
}
