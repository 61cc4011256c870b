//! `call_logs`: one row per attempt.

use std::collections::BTreeMap;

use dialtone_clock::Timestamp;
use dialtone_contract::{CallState, EntryKey, Outcome, TenantId};
use dialtone_store::{CallPatch, CallRow, ClaimDue, EntryRow, Transition};

use crate::convert::{Columns, checked, int, maybe_prose, micros};
use crate::fault::Result;
use crate::session::{Session, Values};

/// The columns of a call log, `c`, in the order in which [`row`] reads them.
macro_rules! columns {
    () => {
        "c.attempt, c.status, c.due_at, c.leased_at, c.dispatch_id, c.dispatched_at,
         c.claimed_at, c.claimer, c.closed_outcome, c.ended_at, c.outcome, c.reason,
         c.duration_ms, c.beat_seq"
    };
}
pub(crate) use columns;

/// Reads the columns of [`columns!`].
pub(crate) fn row(columns: &mut Columns<'_>) -> Result<CallRow> {
    let attempt = columns.u32()?;
    rest(columns, attempt)
}

/// As [`row`], where the join may have found none.
pub(crate) fn maybe_row(columns: &mut Columns<'_>) -> Result<Option<CallRow>> {
    match columns.maybe_u32()? {
        Some(attempt) => rest(columns, attempt).map(Some),
        None => Ok(None),
    }
}

fn rest(columns: &mut Columns<'_>, attempt: u32) -> Result<CallRow> {
    Ok(CallRow {
        attempt,
        state: columns.name()?,
        due_at: columns.maybe_at()?,
        leased_at: columns.at()?,
        dispatch_id: columns.take()?,
        dispatched_at: columns.maybe_at()?,
        claimed_at: columns.maybe_at()?,
        claimer: columns.take()?,
        closed_outcome: columns.maybe_name()?,
        ended_at: columns.maybe_at()?,
        outcome: columns.maybe_name()?,
        reason: columns.take()?,
        duration_ms: columns.maybe_u64()?,
        beat_seq: columns.maybe_u64()?,
    })
}

/// Begins attempts. One that was given back is begun again under the same number.
pub(crate) const BEGIN: &str = "
    INSERT INTO call_logs (tenant_id, batch_id, seq, attempt, status, due_at, leased_at)
    SELECT $1, $2, i.seq, i.attempt, $3, i.due_at, $4
    FROM unnest($5::bigint[], $6::bigint[], $7::bigint[]) AS i (seq, attempt, due_at)
    ON CONFLICT (batch_id, seq, attempt) DO UPDATE
    SET status = excluded.status, due_at = excluded.due_at, leased_at = excluded.leased_at,
        dispatch_id = NULL, dispatched_at = NULL, claimed_at = NULL, claimer = NULL,
        closed_outcome = NULL, ended_at = NULL, outcome = NULL, reason = NULL,
        duration_ms = NULL, beat_seq = NULL";

/// Begins the attempts of entries that a claim has leased from what they were `before`.
pub(crate) async fn begin(
    session: &Session,
    claim: &ClaimDue,
    before: &[EntryRow],
    leased: &[EntryRow],
) -> Result<()> {
    let statement = session.statement(BEGIN).await?;
    let seqs: Vec<i64> = leased.iter().map(|entry| i64::from(entry.key.seq)).collect();
    let attempts: Vec<i64> = leased.iter().map(|entry| i64::from(entry.attempt)).collect();
    let due: Vec<Option<i64>> = before.iter().map(|entry| micros(entry.not_before)).collect();
    let (tenant, batch) = (claim.tenant.as_str(), claim.batch.as_str());
    let (status, at) = (CallRow::leased(0, claim.now).state.as_str(), claim.now.as_micros());
    let values: Values<'_> = &[&tenant, &batch, &status, &at, &seqs, &attempts, &due];
    session.touch(&statement, values).await.map(drop)
}

/// Changes to call logs, gathered so that each is written once.
#[derive(Default)]
pub(crate) struct Patches<'a>(BTreeMap<(&'a EntryKey, u32), (&'a TenantId, CallPatch)>);

/// Writes what patches name; a call log that is not there stays so.
pub(crate) const PATCH: &str = "
    UPDATE call_logs AS c
    SET status = coalesce(i.status, c.status),
        dispatch_id = coalesce(i.dispatch_id, c.dispatch_id),
        dispatched_at = coalesce(i.dispatched_at, c.dispatched_at),
        claimed_at = coalesce(i.claimed_at, c.claimed_at),
        claimer = coalesce(i.claimer, c.claimer),
        closed_outcome = coalesce(i.closed_outcome, c.closed_outcome),
        ended_at = coalesce(i.ended_at, c.ended_at),
        outcome = coalesce(i.outcome, c.outcome),
        reason = coalesce(i.reason, c.reason),
        duration_ms = coalesce(i.duration_ms, c.duration_ms),
        beat_seq = coalesce(i.beat_seq, c.beat_seq)
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[],
                $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::bigint[], $12::text[],
                $13::text[], $14::bigint[], $15::bigint[])
         AS i (tenant_id, batch_id, seq, attempt, status, dispatch_id, dispatched_at, claimed_at,
               claimer, closed_outcome, ended_at, outcome, reason, duration_ms, beat_seq)
    WHERE c.tenant_id = i.tenant_id AND c.batch_id = i.batch_id AND c.seq = i.seq
      AND c.attempt = i.attempt";

/// Removes the call logs of attempts that never were.
pub(crate) const REMOVE: &str = "
    DELETE FROM call_logs AS c
    USING unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
          AS i (tenant_id, batch_id, seq, attempt)
    WHERE c.tenant_id = i.tenant_id AND c.batch_id = i.batch_id AND c.seq = i.seq
      AND c.attempt = i.attempt";

impl<'a> Patches<'a> {
    /// Adds what a change says, behind what was said before. What no column holds is refused
    /// here, as long as nothing is sent.
    pub(crate) fn add(&mut self, change: &'a Transition) -> Result<()> {
        let new = &change.call;
        if *new == CallPatch::default() {
            return Ok(());
        }
        new.duration_ms.map(int).transpose()?;
        new.beat_seq.map(int).transpose()?;
        let key = (&change.key, change.attempt);
        let (_, old) = self.0.entry(key).or_insert_with(|| (&change.tenant, CallPatch::default()));
        let text = |new: &Option<String>, old: Option<String>| new.clone().or(old);
        let before = std::mem::take(old);
        *old = CallPatch {
            state: new.state.or(before.state),
            dispatch_id: text(&new.dispatch_id, before.dispatch_id),
            dispatched_at: new.dispatched_at.or(before.dispatched_at),
            claimed_at: new.claimed_at.or(before.claimed_at),
            claimer: text(&new.claimer, before.claimer),
            closed_outcome: new.closed_outcome.or(before.closed_outcome),
            ended_at: new.ended_at.or(before.ended_at),
            outcome: new.outcome.or(before.outcome),
            reason: text(&new.reason, before.reason),
            duration_ms: new.duration_ms.or(before.duration_ms),
            beat_seq: new.beat_seq.or(before.beat_seq),
            remove: new.remove || before.remove,
        };
        Ok(())
    }

    fn part(&self, remove: bool) -> Vec<Patched<'_>> {
        let part = self.0.iter().filter(|(_, (_, patch))| patch.remove == remove);
        part.map(|((key, attempt), (tenant, patch))| Patched {
            tenant,
            key,
            attempt: i64::from(*attempt),
            patch,
        })
        .collect()
    }

    /// Removes what never was. Nothing is sent if there is nothing of the kind.
    pub(crate) async fn remove(&self, session: &Session) -> Result<()> {
        let rows = self.part(true);
        if rows.is_empty() {
            return Ok(());
        }
        let statement = session.statement(REMOVE).await?;
        let (tenants, batches, seqs, attempts) = keys(&rows);
        session.touch(&statement, &[&tenants, &batches, &seqs, &attempts]).await.map(drop)
    }

    /// Writes the others. Nothing is sent if there are none.
    pub(crate) async fn write(&self, session: &Session) -> Result<()> {
        let rows = self.part(false);
        if rows.is_empty() {
            return Ok(());
        }
        let statement = session.statement(PATCH).await?;
        let (tenants, batches, seqs, attempts) = keys(&rows);
        let patches = || rows.iter().map(|row| row.patch);
        let states: Vec<_> = patches().map(|p| p.state.map(CallState::as_str)).collect();
        let dispatches: Vec<_> = patches().map(|p| maybe_prose(p.dispatch_id.as_ref())).collect();
        let at = |of: fn(&CallPatch) -> Option<Timestamp>| -> Vec<Option<i64>> {
            patches().map(|patch| micros(of(patch))).collect()
        };
        let (dispatched, claimed, ended) =
            (at(|p| p.dispatched_at), at(|p| p.claimed_at), at(|p| p.ended_at));
        let claimers: Vec<_> = patches().map(|p| maybe_prose(p.claimer.as_ref())).collect();
        let outcomes = |of: fn(&CallPatch) -> Option<Outcome>| -> Vec<Option<&str>> {
            patches().map(|patch| of(patch).map(Outcome::as_str)).collect()
        };
        let (closed, outcomes) = (outcomes(|p| p.closed_outcome), outcomes(|p| p.outcome));
        let reasons: Vec<_> = patches().map(|p| maybe_prose(p.reason.as_ref())).collect();
        let ints = |of: fn(&CallPatch) -> Option<u64>| -> Vec<Option<i64>> {
            patches().map(|patch| of(patch).map(checked)).collect()
        };
        let (durations, beats) = (ints(|p| p.duration_ms), ints(|p| p.beat_seq));
        let values: Values<'_> = &[
            &tenants,
            &batches,
            &seqs,
            &attempts,
            &states,
            &dispatches,
            &dispatched,
            &claimed,
            &claimers,
            &closed,
            &ended,
            &outcomes,
            &reasons,
            &durations,
            &beats,
        ];
        session.touch(&statement, values).await.map(drop)
    }
}

/// A call log with what changes in it.
struct Patched<'a> {
    tenant: &'a TenantId,
    key: &'a EntryKey,
    attempt: i64,
    patch: &'a CallPatch,
}

type Keys<'a> = (Vec<&'a str>, Vec<&'a str>, Vec<i64>, Vec<i64>);

fn keys<'a>(rows: &[Patched<'a>]) -> Keys<'a> {
    let tenants = rows.iter().map(|row| row.tenant.as_str()).collect();
    let batches = rows.iter().map(|row| row.key.batch.as_str()).collect();
    let seqs = rows.iter().map(|row| i64::from(row.key.seq)).collect();
    (tenants, batches, seqs, rows.iter().map(|row| row.attempt).collect())
}
