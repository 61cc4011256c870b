//! The one writer of entry and batch states.
//!
//! One transaction for the changes of many callers, in two round trips: the first holds the
//! batches and moves what is where its change expects it, the second writes what follows
//! from that, and commits.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dialtone_contract::{BatchId, EntryKey, TenantId};
use dialtone_store::{Applied, BatchTransition, Change, EventRow, Transition};
use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::{batches, calls, counters, entries, events, numbers, outbox};
use crate::convert::{Columns, int};
use crate::fault::{Ended, Fault, Result};
use crate::session::Session;

/// Whose the transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bounds {
    /// It begins and ends with the changes.
    Own,
    /// The caller began it, and ends it.
    Callers,
}

/// What is sent while answers are still missing must be prepared before: else it would be
/// sent late, behind the commit.
pub(crate) const STATEMENTS: &[&str] = &[
    batches::HOLD,
    batches::MOVE,
    batches::FIGURES,
    entries::MOVE,
    calls::PATCH,
    calls::REMOVE,
    numbers::RELEASE,
    outbox::ADD,
    counters::MAKE,
    counters::COUNT,
    events::RECORD,
];

/// Makes each change whose expectation holds, as if in order; one answer each.
pub(crate) async fn apply(
    session: &Session,
    changes: &[&Change],
    bounds: Bounds,
) -> Ended<Vec<Applied>> {
    for sql in STATEMENTS {
        session.statement(sql).await?;
    }
    let moved = match move_all(session, changes, bounds).await {
        Ok(moved) => moved,
        Err(fault) => {
            if bounds == Bounds::Own {
                session.roll_back().await;
            }
            return Err(fault.into());
        }
    };
    let mut answers = vec![Applied::Stale; changes.len()];
    match Outcome::of(changes, &moved, &mut answers) {
        Ok(outcome) => outcome.write(session, bounds).await?,
        Err(fault) => {
            if bounds == Bounds::Own {
                session.roll_back().await;
            }
            return Err(fault.into());
        }
    }
    Ok(answers)
}

/// What the first round trip found.
struct Moved<'a> {
    /// Of the batches that are held: the last event's place.
    held: HashMap<(&'a TenantId, &'a BatchId), u64>,
    /// Places of the changes that were made.
    made: BTreeSet<usize>,
}

/// Changes of one step: to different rows, none of which depends on another of the step.
#[derive(Default)]
struct Step<'a> {
    entries: Vec<(usize, &'a Transition)>,
    batches: Vec<(usize, &'a BatchTransition)>,
}

/// Orders changes into steps, so that a change finds what those before it left: changes to
/// one entry go one step after the other, and one to a batch between those to its entries.
fn steps<'a>(changes: &[&'a Change]) -> Vec<Step<'a>> {
    let mut next_of_entry: HashMap<&EntryKey, usize> = HashMap::new();
    // Of a batch: the first step for its entries, and the first behind all of them.
    let mut next_of_batch: HashMap<&BatchId, (usize, usize)> = HashMap::new();
    let mut steps: Vec<Step<'a>> = Vec::new();
    for (place, change) in changes.iter().enumerate() {
        let at = match change {
            Change::Entry(change) => {
                let (first, behind) = next_of_batch.entry(&change.key.batch).or_default();
                let next = next_of_entry.entry(&change.key).or_default();
                let at = (*next).max(*first);
                *next = at + 1;
                *behind = (*behind).max(at + 1);
                at
            }
            Change::Batch(change) => {
                let (first, behind) = next_of_batch.entry(&change.batch).or_default();
                let at = *behind;
                (*first, *behind) = (at + 1, at + 1);
                at
            }
        };
        if steps.len() <= at {
            steps.resize_with(at + 1, Step::default);
        }
        match change {
            Change::Entry(change) => steps[at].entries.push((place, change)),
            Change::Batch(change) => steps[at].batches.push((place, change)),
        }
    }
    steps
}

/// Holds the batches, then makes the changes step by step, all sent at once.
async fn move_all<'a>(
    session: &Session,
    changes: &[&'a Change],
    bounds: Bounds,
) -> Result<Moved<'a>> {
    let touched = |change: &&'a Change| match change {
        Change::Entry(change) => (&change.key.batch, &change.tenant),
        Change::Batch(change) => (&change.batch, &change.tenant),
    };
    // By batch: that is the order of locks.
    let touched: BTreeSet<(&BatchId, &TenantId)> = changes.iter().map(touched).collect();
    let hold = session.statement(batches::HOLD).await?;
    let tenants: Vec<&str> = touched.iter().map(|(_, tenant)| tenant.as_str()).collect();
    let ids: Vec<&str> =
        touched.iter().map(|(batch, _)| crate::convert::name(batch.as_str())).collect();
    let steps = steps(changes);
    let values: [&(dyn ToSql + Sync); 2] = [&tenants, &ids];
    let mut sent: Vec<BoxFuture<'_, Result<Vec<Row>>>> = Vec::new();
    if bounds == Bounds::Own {
        sent.push(async { session.begin().await.map(|()| Vec::new()) }.boxed());
    }
    sent.push(session.rows(&hold, &values).boxed());
    for step in &steps {
        if !step.entries.is_empty() {
            sent.push(entries::move_all(session, &step.entries).boxed());
        }
        if !step.batches.is_empty() {
            sent.push(batches::move_all(session, &step.batches).boxed());
        }
    }
    // In order, whatever their number: each is sent when it is polled first.
    let answers = join_all(sent).await.into_iter().collect::<Result<Vec<_>>>()?;
    let mut answers = answers.into_iter().skip(usize::from(bounds == Bounds::Own));
    let mut found = HashMap::new();
    for row in answers.next().unwrap_or_default() {
        let mut columns = Columns::of(&row);
        let (tenant, batch): (String, String) = (columns.take()?, columns.take()?);
        found.insert((tenant, batch), columns.u64()?);
    }
    let mut held = HashMap::new();
    for (batch, tenant) in touched {
        if let Some(seq) = found.remove(&(tenant.as_str().to_owned(), batch.as_str().to_owned())) {
            held.insert((tenant, batch), seq);
        }
    }
    let mut made = BTreeSet::new();
    for row in answers.flatten() {
        let place: i64 = Columns::of(&row).take()?;
        made.insert(usize::try_from(place).unwrap_or(usize::MAX));
    }
    Ok(Moved { held, made })
}

/// What follows from the changes that were made.
#[derive(Default)]
struct Outcome<'a> {
    figures: Vec<batches::Figures<'a>>,
    moves: counters::Moves<'a>,
    patches: calls::Patches<'a>,
    releases: numbers::Releases<'a>,
    items: outbox::Items<'a>,
    events: events::Events<'a>,
}

impl<'a> Outcome<'a> {
    /// Gathers it in the order of the changes, and writes each change's answer.
    fn of(changes: &[&'a Change], moved: &Moved<'a>, answers: &mut [Applied]) -> Result<Self> {
        let mut outcome = Self::default();
        let mut open: BTreeMap<(&'a BatchId, &'a TenantId), Open> = BTreeMap::new();
        for place in &moved.made {
            let Some(change) = changes.get(*place) else { continue };
            let (tenant, batch) = match change {
                Change::Entry(change) => (&change.tenant, &change.key.batch),
                Change::Batch(change) => (&change.tenant, &change.batch),
            };
            let Some(first) = moved.held.get(&(tenant, batch)) else {
                return Err(Fault::Impossible(format!("batch {batch} has entries but no row")));
            };
            let now = open.entry((batch, tenant)).or_insert_with(|| Open::at(*first));
            match change {
                Change::Entry(change) => outcome.note(change, now)?,
                Change::Batch(change) => {
                    now.event_seq += 1;
                    now.moved_seq = Some(now.event_seq);
                    let event = EventRow::of_batch(now.event_seq, change);
                    outcome.events.add(tenant, batch, event);
                    outcome.items.add(tenant, &change.outbox, change.at)?;
                }
            }
            answers[*place] = Applied::Applied { event_seq: now.event_seq };
        }
        for ((batch, tenant), now) in open {
            if now.has_changed() {
                outcome.figures.push(now.figures(tenant, batch)?);
            }
        }
        Ok(outcome)
    }

    fn note(&mut self, change: &'a Transition, now: &mut Open) -> Result<()> {
        let (tenant, batch) = (&change.tenant, &change.key.batch);
        self.moves.leave(tenant, batch, (change.from, change.from_outcome));
        self.moves.enter(tenant, batch, (change.to, change.outcome), 1);
        self.patches.add(change)?;
        self.releases.add(change);
        self.items.add(tenant, &change.outbox, change.at)?;
        now.attempts += i64::from(change.new_attempt) - i64::from(change.attempt);
        now.dials += i64::from(change.dial);
        if change.event.is_recorded() {
            now.event_seq += 1;
            self.events.add(tenant, batch, EventRow::of_entry(now.event_seq, change));
        }
        Ok(())
    }

    /// Sends all of it at once, with the commit behind it.
    async fn write(&self, session: &Session, bounds: Bounds) -> Ended<()> {
        let mut sent: Vec<BoxFuture<'_, Result<()>>> = vec![
            batches::write_figures(session, &self.figures).boxed(),
            self.moves.write(session).boxed(),
            self.patches.write(session).boxed(),
            self.patches.remove(session).boxed(),
            self.releases.write(session).boxed(),
        ];
        if !self.items.is_empty() {
            sent.push(self.items.write(session).boxed());
        }
        if !self.events.is_empty() {
            sent.push(self.events.write(session).boxed());
        }
        if bounds == Bounds::Callers {
            for answer in join_all(sent).await {
                answer?;
            }
            return Ok(());
        }
        sent.push(session.commit().boxed());
        let mut answers = join_all(sent).await;
        let committed = answers.pop().unwrap_or(Ok(()));
        for answer in answers {
            // The server said that it failed, so the commit behind it was a rollback. A lost
            // connection says nothing of the kind.
            answer.map_err(Fault::at_commit)?;
        }
        committed.map_err(Fault::at_commit)
    }
}

/// A batch's figures while changes are noted.
struct Open {
    first: u64,
    event_seq: u64,
    moved_seq: Option<u64>,
    attempts: i64,
    dials: i64,
}

impl Open {
    fn at(first: u64) -> Self {
        Self { first, event_seq: first, moved_seq: None, attempts: 0, dials: 0 }
    }

    fn has_changed(&self) -> bool {
        self.event_seq != self.first || self.attempts != 0 || self.dials != 0
    }

    fn figures<'a>(
        &self,
        tenant: &'a TenantId,
        batch: &'a BatchId,
    ) -> Result<batches::Figures<'a>> {
        Ok(batches::Figures {
            tenant,
            batch,
            event_seq: int(self.event_seq)?,
            moved_seq: self.moved_seq.map(int).transpose()?,
            attempts: self.attempts,
            dials: self.dials,
        })
    }
}
