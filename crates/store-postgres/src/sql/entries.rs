//! `batch_entries`.

use std::ops::RangeInclusive;

use dialtone_auth::{NumberKey, Phone};
use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, EntryKey, EntryState, Outcome, PlannedOutcome, TenantId};
use dialtone_store::{CallRow, ClaimDue, EntryFilter, EntryRow, NewEntry, Transition};
use tokio_postgres::Row;

use super::{calls, counters};
use crate::convert::{self, Columns, count, int, maybe_prose, micros, name};
use crate::fault::Result;
use crate::session::{Session, Values};

/// The columns of an entry, `e`, in the order in which [`row`] reads them.
macro_rules! columns {
    ($rest:expr) => {
        concat!(
            "SELECT e.tenant_id, e.batch_id, e.seq, e.phone, e.number_key, e.timezone, e.variables,
                    e.planned, e.state, e.outcome, e.attempt, e.not_before, e.deadline, e.cap,
                    e.lease_epoch ",
            $rest
        )
    };
}

/// An entry with the attempt `$call`.
macro_rules! with_call {
    ($entries:literal, $call:literal, $rest:literal) => {
        columns!(concat!(
            ", ",
            calls::columns!(),
            " FROM ",
            $entries,
            " JOIN call_logs AS c
               ON c.tenant_id = e.tenant_id AND c.batch_id = e.batch_id AND c.seq = e.seq
              AND c.attempt = ",
            $call,
            " ",
            $rest
        ))
    };
}

/// An entry with one of its attempts.
pub(crate) const CALL: &str = with_call!(
    "batch_entries AS e",
    "$4",
    "WHERE e.tenant_id = $1 AND e.batch_id = $2 AND e.seq = $3"
);

/// All tenants' entries whose deadline has come, with the current attempt.
pub(crate) const DUE_DEADLINES: &str = with_call!(
    "(SELECT * FROM batch_entries WHERE deadline <= $1
      ORDER BY deadline, batch_id, seq LIMIT $2) AS e",
    "e.attempt",
    "ORDER BY e.deadline, e.batch_id, e.seq"
);

/// The next deadline after `$1`.
pub(crate) const NEXT_DEADLINE: &str =
    "SELECT min(deadline) FROM batch_entries WHERE deadline > $1";

/// A stretch of a batch, by place, of which only some entries may be wanted, each with all
/// its attempts.
pub(crate) const FIND: &str = columns!(concat!(
    ", ",
    calls::columns!(),
    " FROM (SELECT * FROM batch_entries
            WHERE tenant_id = $1 AND batch_id = $2 AND seq > $3 AND seq <= $4
              AND ($5::text IS NULL OR state = $5) AND ($6::text IS NULL OR outcome = $6)
            ORDER BY seq LIMIT $7) AS e
      LEFT JOIN call_logs AS c
        ON c.tenant_id = e.tenant_id AND c.batch_id = e.batch_id AND c.seq = e.seq
      ORDER BY e.seq, c.attempt"
));

/// Entries of one batch that wait for a claim, earliest first.
pub(crate) const WAITING: &str = columns!(
    "FROM batch_entries AS e
     WHERE e.tenant_id = $1 AND e.batch_id = $2 AND e.not_before IS NOT NULL
     ORDER BY e.not_before, e.seq LIMIT $3"
);

/// Entries of one batch with an attempt under way, with that attempt. The index holds those
/// of all batches, which are as many as there are calls.
pub(crate) const UNDER_WAY: &str = with_call!(
    "(SELECT * FROM batch_entries
      WHERE deadline IS NOT NULL AND batch_id = $2 AND tenant_id = $1) AS e",
    "e.attempt",
    "ORDER BY e.seq"
);

/// Due entries of one batch behind a place in their order, earliest first. They are locked;
/// one that another transaction holds is left to it.
pub(crate) const DUE: &str = columns!(
    "FROM batch_entries AS e
     WHERE e.tenant_id = $1 AND e.batch_id = $2 AND e.not_before <= $3
       AND (e.not_before, e.seq) > ($4, $5)
     ORDER BY e.not_before, e.seq LIMIT $6
     FOR UPDATE SKIP LOCKED"
);

pub(crate) fn row(columns: &mut Columns<'_>) -> Result<EntryRow> {
    Ok(EntryRow {
        tenant: TenantId::new(columns.take::<String>()?),
        key: EntryKey { batch: BatchId::new(columns.take::<String>()?), seq: columns.u32()? },
        to: columns.text(Phone::parse)?,
        number: NumberKey::from_bytes(columns.bytes()?),
        timezone: columns.take()?,
        variables: columns.take()?,
        planned: columns.maybe_name()?,
        state: columns.name()?,
        outcome: columns.maybe_name()?,
        attempt: columns.u32()?,
        not_before: columns.maybe_at()?,
        deadline: columns.maybe_at()?,
        cap: columns.maybe_at()?,
        lease_epoch: columns.u64()?,
    })
}

fn row_with_call(row: &Row) -> Result<(EntryRow, CallRow)> {
    let mut columns = Columns::of(row);
    Ok((self::row(&mut columns)?, calls::row(&mut columns)?))
}

/// Adds entries that are not there yet; how many those are.
pub(crate) async fn add(
    session: &Session,
    tenant: &TenantId,
    batch: &BatchId,
    entries: &[NewEntry],
) -> Result<()> {
    let sql = "INSERT INTO batch_entries (tenant_id, batch_id, state, seq, phone, number_key,
                                          timezone, variables, planned, not_before)
               SELECT $1, $2, $3, i.*
               FROM unnest($4::bigint[], $5::text[], $6::bytea[], $7::text[], $8::text[],
                           $9::text[], $10::bigint[]) AS i
               ON CONFLICT (batch_id, seq) DO NOTHING";
    let seqs: Vec<i64> = entries.iter().map(|new| i64::from(new.seq)).collect();
    let phones: Vec<&str> = entries.iter().map(|new| new.to.expose()).collect();
    let numbers: Vec<&[u8]> = entries.iter().map(|new| &new.number.as_bytes()[..]).collect();
    let zones: Vec<_> = entries.iter().map(|new| maybe_prose(new.timezone.as_ref())).collect();
    let variables: Vec<_> = entries.iter().map(|new| maybe_prose(new.variables.as_ref())).collect();
    let plans: Vec<_> = entries.iter().map(|new| new.planned.map(PlannedOutcome::as_str)).collect();
    let due: Vec<i64> = entries.iter().map(|new| new.not_before.as_micros()).collect();
    let state = EntryState::Pending.as_str();
    let values: Values<'_> = &[
        &tenant.as_str(),
        &batch.as_str(),
        &state,
        &seqs,
        &phones,
        &numbers,
        &zones,
        &variables,
        &plans,
        &due,
    ];
    let added = session.run(sql, values).await?;
    let mut moves = counters::Moves::default();
    let added = count(usize::try_from(added).unwrap_or(usize::MAX));
    moves.enter(tenant, batch, (EntryState::Pending, None), added);
    moves.write(session).await
}

/// Moves entries that are where their changes expect them.
pub(crate) const MOVE: &str = "
    UPDATE batch_entries AS e
    SET state = i.to_state, outcome = i.outcome, attempt = i.new_attempt,
        not_before = i.not_before, deadline = i.deadline, cap = i.cap
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[],
                $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::bigint[],
                $13::bigint[], $14::bigint[], $15::bigint[])
         AS i (place, tenant_id, batch_id, seq, from_state, attempt, lease_epoch, deadline_seen,
               batch_in, to_state, outcome, new_attempt, not_before, deadline, cap)
    WHERE e.tenant_id = i.tenant_id AND e.batch_id = i.batch_id AND e.seq = i.seq
      AND e.state = i.from_state AND e.attempt = i.attempt
      AND (i.lease_epoch IS NULL OR e.lease_epoch = i.lease_epoch)
      AND (i.deadline_seen IS NULL OR e.deadline = i.deadline_seen)
      AND (i.batch_in IS NULL OR EXISTS (
             SELECT 1 FROM voice_call_batches AS b
             WHERE b.tenant_id = i.tenant_id AND b.batch_id = i.batch_id
               AND b.state = ANY (string_to_array(i.batch_in, ' '))))
    RETURNING i.place";

/// Moves each entry that is where its change expects it; the places of those changes. No
/// entry may be named twice: of two changes to one row only one would be looked at.
pub(crate) async fn move_all(
    session: &Session,
    moves: &[(usize, &Transition)],
) -> Result<Vec<Row>> {
    let statement = session.statement(MOVE).await?;
    let changes = || moves.iter().map(|(_, change)| *change);
    let places: Vec<i64> = moves.iter().map(|(place, _)| count(*place)).collect();
    let tenants: Vec<_> = changes().map(|c| c.tenant.as_str()).collect();
    let batches: Vec<_> = changes().map(|c| name(c.key.batch.as_str())).collect();
    let seqs: Vec<_> = changes().map(|c| i64::from(c.key.seq)).collect();
    let from: Vec<_> = changes().map(|c| c.from.as_str()).collect();
    let attempts: Vec<_> = changes().map(|c| i64::from(c.attempt)).collect();
    let epochs: Vec<_> =
        changes().map(|c| c.lease_epoch.map(int).transpose()).collect::<Result<_>>()?;
    let seen: Vec<_> = changes().map(|c| micros(c.deadline_seen)).collect();
    let within: Vec<_> = changes().map(|c| c.batch_in.map(convert::states)).collect();
    let to: Vec<_> = changes().map(|c| c.to.as_str()).collect();
    let outcomes: Vec<_> = changes().map(|c| c.outcome.map(Outcome::as_str)).collect();
    let new_attempts: Vec<_> = changes().map(|c| i64::from(c.new_attempt)).collect();
    let not_before: Vec<_> = changes().map(|c| micros(c.not_before)).collect();
    let deadlines: Vec<_> = changes().map(|c| micros(c.deadline)).collect();
    let caps: Vec<_> = changes().map(|c| micros(c.cap)).collect();
    let values: Values<'_> = &[
        &places,
        &tenants,
        &batches,
        &seqs,
        &from,
        &attempts,
        &epochs,
        &seen,
        &within,
        &to,
        &outcomes,
        &new_attempts,
        &not_before,
        &deadlines,
        &caps,
    ];
    session.rows(&statement, values).await
}

/// Removes the entries of a batch that is still loading.
pub(crate) async fn remove_all(
    session: &Session,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<()> {
    let sql = "DELETE FROM batch_entries WHERE tenant_id = $1 AND batch_id = $2";
    session.run(sql, &[&tenant.as_str(), &batch.as_str()]).await.map(drop)
}

/// The first due entries behind `after` in the order of claims, locked.
pub(crate) async fn due(
    session: &Session,
    claim: &ClaimDue,
    after: Option<&EntryRow>,
    limit: u32,
) -> Result<Vec<EntryRow>> {
    let statement = session.statement(DUE).await?;
    let (tenant, batch) = (claim.tenant.as_str(), name(claim.batch.as_str()));
    let place = |entry: &EntryRow| (micros(entry.not_before), i64::from(entry.key.seq));
    let (due, seq) = after.map_or((Some(i64::MIN), 0), place);
    let (now, limit) = (claim.now.as_micros(), i64::from(limit));
    let rows = session.rows(&statement, &[&tenant, &batch, &now, &due, &seq, &limit]).await?;
    rows.iter().map(|row| self::row(&mut Columns::of(row))).collect()
}

/// Leases entries that are still as they were.
pub(crate) const LEASE: &str = "
    UPDATE batch_entries AS e
    SET state = $3, outcome = NULL, attempt = e.attempt + 1, not_before = NULL, deadline = $4,
        cap = NULL, lease_epoch = $5
    FROM unnest($6::bigint[], $7::text[], $8::bigint[]) AS i (seq, from_state, attempt)
    WHERE e.tenant_id = $1 AND e.batch_id = $2 AND e.seq = i.seq
      AND e.state = i.from_state AND e.attempt = i.attempt";

/// Leases entries that are still as `before`; how many those are.
pub(crate) async fn lease(session: &Session, claim: &ClaimDue, before: &[EntryRow]) -> Result<u64> {
    let (tenant, batch) = (claim.tenant.as_str(), claim.batch.as_str());
    let (state, deadline) = (EntryState::Leased.as_str(), claim.deadline.as_micros());
    let epoch = int(claim.lease_epoch)?;
    let seqs: Vec<i64> = before.iter().map(|entry| i64::from(entry.key.seq)).collect();
    let from: Vec<&str> = before.iter().map(|entry| entry.state.as_str()).collect();
    let attempts: Vec<i64> = before.iter().map(|entry| i64::from(entry.attempt)).collect();
    let values: Values<'_> = &[&tenant, &batch, &state, &deadline, &epoch, &seqs, &from, &attempts];
    session.run(LEASE, values).await
}

pub(crate) async fn waiting(
    session: &Session,
    tenant: &TenantId,
    batch: &BatchId,
    limit: u32,
) -> Result<Vec<EntryRow>> {
    let (batch, limit) = (name(batch.as_str()), i64::from(limit));
    let rows = session.ask(WAITING, &[&tenant.as_str(), &batch, &limit]).await?;
    rows.iter().map(|row| self::row(&mut Columns::of(row))).collect()
}

pub(crate) async fn under_way(
    session: &Session,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<Vec<(EntryRow, CallRow)>> {
    let rows = session.ask(UNDER_WAY, &[&tenant.as_str(), &name(batch.as_str())]).await?;
    rows.iter().map(row_with_call).collect()
}

pub(crate) async fn call(
    session: &Session,
    tenant: &TenantId,
    key: &EntryKey,
    attempt: u32,
) -> Result<Option<(EntryRow, CallRow)>> {
    let (batch, seq, attempt) = (name(key.batch.as_str()), i64::from(key.seq), i64::from(attempt));
    let found = session.ask_one(CALL, &[&tenant.as_str(), &batch, &seq, &attempt]).await?;
    found.as_ref().map(row_with_call).transpose()
}

/// The wanted entries of a stretch, each with its attempts.
pub(crate) async fn find(
    session: &Session,
    tenant: &TenantId,
    batch: &BatchId,
    filter: EntryFilter,
    behind: RangeInclusive<u32>,
    limit: u32,
) -> Result<Vec<(EntryRow, Vec<CallRow>)>> {
    let (batch, limit) = (name(batch.as_str()), i64::from(limit));
    let (after, until) = (i64::from(*behind.start()), i64::from(*behind.end()));
    let (state, outcome) =
        (filter.state.map(EntryState::as_str), filter.outcome.map(Outcome::as_str));
    let values: Values<'_> = &[&tenant.as_str(), &batch, &after, &until, &state, &outcome, &limit];
    let mut found: Vec<(EntryRow, Vec<CallRow>)> = Vec::new();
    for row in session.ask(FIND, values).await? {
        let mut columns = Columns::of(&row);
        let entry = self::row(&mut columns)?;
        let call = calls::maybe_row(&mut columns)?;
        match found.last_mut() {
            // One row for each attempt, those of one entry behind each other.
            Some((last, own)) if last.key.seq == entry.key.seq => own.extend(call),
            _ => found.push((entry, call.into_iter().collect())),
        }
    }
    Ok(found)
}

pub(crate) async fn due_deadlines(
    session: &Session,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<(EntryRow, CallRow)>> {
    let rows = session.ask(DUE_DEADLINES, &[&now.as_micros(), &i64::from(limit)]).await?;
    rows.iter().map(row_with_call).collect()
}

pub(crate) async fn next_deadline(session: &Session, now: Timestamp) -> Result<Option<Timestamp>> {
    let row = session.ask_one(NEXT_DEADLINE, &[&now.as_micros()]).await?;
    Ok(row.map(|row| Columns::of(&row).maybe_at()).transpose()?.flatten())
}
