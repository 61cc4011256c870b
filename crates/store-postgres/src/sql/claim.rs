//! Leases due entries, in a short transaction that holds their batch.

use std::collections::BTreeSet;

use dialtone_auth::NumberKey;
use dialtone_contract::{BatchState, EntryState};
use dialtone_store::{ClaimDue, Claimed, EntryRow, EventRow, Held};
use futures_util::future::{BoxFuture, FutureExt as _, join_all, join3, join5, try_join_all};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::{calls, counters, entries, events, numbers, suppressions};
use crate::convert::{Columns, count, in_flight, int, name};
use crate::fault::{Ended, Fault, Result};
use crate::session::{Session, Values};

/// Claims of one tenant go one after the other while its calls at once are bounded: the
/// bound is over batches, and holding one of them would not keep it. First half of the key
/// of that lock ("CLAM").
const TENANT_LOCK: i32 = 0x434c_414d;

/// Waits for the tenant's turn.
const TENANT: &str = "SELECT pg_advisory_xact_lock($1, hashtext($2))";

/// Holds the batch; where it stands.
const HOLD: &str = "
    SELECT state, paced_at, event_seq FROM voice_call_batches
    WHERE tenant_id = $1 AND batch_id = $2 FOR NO KEY UPDATE";

/// Notes a claim for the claims after it.
const NOTE: &str = "
    UPDATE voice_call_batches
    SET event_seq = $3, attempts = attempts + $4, claimed_at = $5,
        paced_at = coalesce($6, paced_at)
    WHERE tenant_id = $1 AND batch_id = $2";

/// What is sent while answers are still missing must be prepared before.
pub(crate) const STATEMENTS: &[&str] = &[
    TENANT,
    HOLD,
    NOTE,
    counters::IN_FLIGHT,
    counters::IN_FLIGHT_OF_TENANT,
    counters::MAKE,
    counters::COUNT,
    suppressions::ANY,
    entries::DUE,
    entries::LEASE,
    calls::BEGIN,
    events::RECORD,
];

pub(crate) async fn claim(session: &Session, claim: &ClaimDue) -> Ended<Claimed> {
    if claim.limit == 0 {
        return Ok(Claimed::default());
    }
    for sql in STATEMENTS {
        session.statement(sql).await?;
    }
    let looked = match look(session, claim).await {
        Ok(looked) => looked,
        Err(fault) => {
            session.roll_back().await;
            return Err(fault.into());
        }
    };
    let Some(look) = looked else {
        session.roll_back().await;
        return Ok(Claimed::default());
    };
    let event_seq = look.event_seq;
    let chosen = match choose(session, claim, look).await {
        Ok(chosen) => chosen,
        Err(fault) => {
            session.roll_back().await;
            return Err(fault.into());
        }
    };
    let Chosen { free, held } = chosen;
    if free.is_empty() {
        // Nothing is written; numbers are held with what is leased, or not at all.
        session.roll_back().await;
        return Ok(Claimed { leased: Vec::new(), held });
    }
    let leased = lease_all(session, claim, free, event_seq).await?;
    Ok(Claimed { leased, held })
}

/// What the first round trip found of a batch that may be claimed from.
struct Look {
    event_seq: u64,
    room: u32,
    /// Whether the tenant has suppressed any number.
    suppressed: bool,
    /// The first due entries.
    due: Vec<EntryRow>,
}

/// Begins, holds the batch, and looks, all sent at once. `None`: nothing may be claimed.
async fn look(session: &Session, claim: &ClaimDue) -> Result<Option<Look>> {
    let (tenant, batch) = (claim.tenant.as_str(), name(claim.batch.as_str()));
    let states = in_flight();
    let sql = [counters::IN_FLIGHT, counters::IN_FLIGHT_OF_TENANT, suppressions::ANY, TENANT, HOLD];
    let [of_batch, of_tenant, any, turn, hold] =
        try_join_all(sql.map(|sql| session.statement(sql)))
            .await?
            .try_into()
            .map_err(|_| Fault::Impossible("a statement is missing".to_owned()))?;
    let bounded = claim.tenant_max_in_flight.is_some();
    let turn_of: [&(dyn ToSql + Sync); 2] = [&TENANT_LOCK, &tenant];
    let own: [&(dyn ToSql + Sync); 2] = [&tenant, &batch];
    let counted: [&(dyn ToSql + Sync); 3] = [&tenant, &batch, &states];
    let summed: [&(dyn ToSql + Sync); 2] = [&tenant, &states];
    let suppressed: [&(dyn ToSql + Sync); 1] = [&tenant];
    let mut sent: Vec<BoxFuture<'_, Result<Vec<Row>>>> = Vec::new();
    if bounded {
        sent.push(session.rows(&turn, &turn_of).boxed());
    }
    sent.push(session.rows(&hold, &own).boxed());
    sent.push(session.rows(&of_batch, &counted).boxed());
    sent.push(session.rows(&any, &suppressed).boxed());
    if bounded {
        sent.push(session.rows(&of_tenant, &summed).boxed());
    }
    // The room is not known yet; most often it is what was asked for.
    let first = entries::due(session, claim, None, claim.limit);
    let (begun, answers, due) = join3(session.begin(), join_all(sent), first).await;
    begun?;
    let answers = answers.into_iter().collect::<Result<Vec<_>>>()?;
    let mut answers = answers.into_iter().skip(usize::from(bounded));
    let mut next = || answers.next().unwrap_or_default();
    let (held, of_batch, any, of_tenant) = (next(), next(), next(), next());
    let Some(row) = held.first() else { return Ok(None) };
    let mut columns = Columns::of(row);
    let (state, paced_at): (BatchState, _) = (columns.name()?, columns.maybe_at()?);
    let event_seq = columns.u64()?;
    if !claim.claimable.contains(&state) || claim.pace.is_some_and(|pace| pace.seen != paced_at) {
        return Ok(None);
    }
    let sum = |rows: &[Row]| rows.first().map_or(Ok(0), |row| Columns::of(row).u32());
    let room = claim.room(sum(&of_batch)?, sum(&of_tenant)?);
    if room == 0 {
        return Ok(None);
    }
    Ok(Some(Look { event_seq, room, suppressed: !any.is_empty(), due: due? }))
}

/// Entries that may be leased, and those that may not.
struct Chosen {
    free: Vec<EntryRow>,
    held: Vec<(EntryRow, Held)>,
}

/// Goes through the due entries until the room is used up, or enough have been looked at.
async fn choose(session: &Session, claim: &ClaimDue, look: Look) -> Result<Chosen> {
    let room = look.room as usize;
    let mut left = claim.looks(look.room) as usize;
    let mut chosen = Chosen { free: Vec::new(), held: Vec::new() };
    let mut all_read = look.due.len() < claim.limit as usize;
    let mut due = std::collections::VecDeque::from(look.due);
    let mut last: Option<EntryRow> = None;
    while chosen.free.len() < room && left > 0 {
        let want = (room - chosen.free.len()).min(left);
        if due.is_empty() {
            if all_read {
                break;
            }
            let limit = u32::try_from(want).unwrap_or(u32::MAX);
            due = entries::due(session, claim, last.as_ref(), limit).await?.into();
            all_read = due.len() < want;
            continue;
        }
        // As many as there is room for: whatever of them is free is leased.
        let part: Vec<EntryRow> = due.drain(..want.min(due.len())).collect();
        left -= part.len();
        last = part.last().cloned();
        for (entry, held) in judge(session, claim, part, look.suppressed).await? {
            match held {
                Some(why) => chosen.held.push((entry, why)),
                None => chosen.free.push(entry),
            }
        }
    }
    Ok(chosen)
}

/// Why each entry may not be leased now; if it may, its number is held for it.
async fn judge(
    session: &Session,
    claim: &ClaimDue,
    entries: Vec<EntryRow>,
    suppressed: bool,
) -> Result<Vec<(EntryRow, Option<Held>)>> {
    let stopped: BTreeSet<NumberKey> = if suppressed {
        let keys: Vec<&[u8]> = entries.iter().map(|e| &e.number.as_bytes()[..]).collect();
        suppressions::among(session, &claim.tenant, &keys).await?
    } else {
        BTreeSet::new()
    };
    let why = |entry: &EntryRow| {
        let closed = || (!claim.is_open(entry)).then_some(Held::ZoneClosed);
        stopped.contains(&entry.number).then_some(Held::Suppressed).or_else(closed)
    };
    let mut judged: Vec<Option<Held>> = entries.iter().map(why).collect();
    if claim.exclusive {
        let open: Vec<usize> = (0..entries.len()).filter(|at| judged[*at].is_none()).collect();
        let rows: Vec<&EntryRow> = open.iter().map(|at| &entries[*at]).collect();
        if !rows.is_empty() {
            for (at, held) in open.iter().zip(numbers::hold(session, claim, &rows).await?) {
                judged[*at] = held;
            }
        }
    }
    Ok(entries.into_iter().zip(judged).collect())
}

fn leased(before: &EntryRow, claim: &ClaimDue) -> EntryRow {
    EntryRow {
        state: EntryState::Leased,
        outcome: None,
        attempt: before.attempt + 1,
        not_before: None,
        deadline: Some(claim.deadline),
        cap: None,
        lease_epoch: claim.lease_epoch,
        ..before.clone()
    }
}

/// Leases the entries, writes what follows from that, and commits.
async fn lease_all(
    session: &Session,
    claim: &ClaimDue,
    free: Vec<EntryRow>,
    event_seq: u64,
) -> Ended<Vec<EntryRow>> {
    let moved = entries::lease(session, claim, &free).await.and_then(|moved| {
        // They are locked: whatever this is, it must not be committed.
        let all = usize::try_from(moved) == Ok(free.len());
        let text = || format!("entries of {} changed inside a transaction", claim.batch);
        if all { Ok(()) } else { Err(Fault::Impossible(text())) }
    });
    if let Err(fault) = moved {
        session.roll_back().await;
        return Err(fault.into());
    }
    let after: Vec<EntryRow> = free.iter().map(|before| leased(before, claim)).collect();
    let mut recorded = events::Events::default();
    let mut moves = counters::Moves::default();
    let (tenant, batch) = (&claim.tenant, &claim.batch);
    for ((before, after), event_seq) in free.iter().zip(&after).zip(event_seq + 1..) {
        let event = EventRow::of_lease(event_seq, before, after, claim.now);
        recorded.add(tenant, batch, event);
        moves.leave(tenant, batch, (before.state, before.outcome));
        moves.enter(tenant, batch, (after.state, None), 1);
    }
    // What no column holds is refused as long as nothing is sent.
    let last = int(event_seq).map(|last| last.saturating_add(count(after.len())));
    let last = match last {
        Ok(last) => last,
        Err(fault) => {
            session.roll_back().await;
            return Err(fault.into());
        }
    };
    let written = join5(
        note(session, claim, last, after.len()),
        calls::begin(session, claim, &free, &after),
        recorded.write(session),
        moves.write(session),
        session.commit(),
    );
    let written = written.await;
    let (noted, begun, recorded, counted, committed) = written;
    for answer in [noted, begun, recorded, counted, committed] {
        answer.map_err(Fault::at_commit)?;
    }
    Ok(after)
}

/// Notes the claim of `n` entries, the last of whose events is `event_seq`.
async fn note(session: &Session, claim: &ClaimDue, event_seq: i64, n: usize) -> Result<()> {
    let note = session.statement(NOTE).await?;
    let (tenant, batch) = (claim.tenant.as_str(), claim.batch.as_str());
    let (n, counted) = (count(n), u32::try_from(n).unwrap_or(u32::MAX));
    let now = claim.now.as_micros();
    let paced_at = claim.pace.map(|pace| pace.after(counted).as_micros());
    let values: Values<'_> = &[&tenant, &batch, &event_seq, &n, &now, &paced_at];
    session.touch(&note, values).await.map(drop)
}
