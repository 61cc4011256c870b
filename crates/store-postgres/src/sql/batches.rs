//! `voice_call_batches`.

use std::sync::Arc;

use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, BatchState, CancelMode, TenantId};
use dialtone_store::{
    BatchFilter, BatchLimits, BatchRow, BatchSpec, BatchTransition, Counters, NewBatch, Specs,
};
use tokio_postgres::Row;

use super::{counters, entries, rejects};
use crate::convert::{Columns, name, prose, state_list};
use crate::fault::{Ended, Fault, Result};
use crate::session::{Session, Values};

/// A batch with its counters, in one statement: figures of one moment.
macro_rules! columns {
    ($rest:literal) => {
        concat!(
            "SELECT b.tenant_id, b.batch_id, b.spec, b.state, b.reason, b.event_seq, b.attempts,
                    b.dials, b.created_at, b.started_at, b.finished_at, b.max_concurrent,
                    b.calls_per_second, b.paced_at, b.claimed_at, b.cancel_mode, b.rejected, ",
            counters::column!(),
            " FROM ",
            $rest
        )
    };
}

/// By tenant and id.
pub(crate) const ONE: &str =
    columns!("voice_call_batches AS b WHERE b.tenant_id = $1 AND b.batch_id = $2");
/// A tenant's, newest first: ids are time-ordered.
pub(crate) const OF_TENANT: &str = columns!(
    "voice_call_batches AS b WHERE b.tenant_id = $1 AND b.batch_id < $2
     ORDER BY b.tenant_id DESC, b.batch_id DESC LIMIT $3"
);
/// A tenant's in one state, newest first.
pub(crate) const OF_TENANT_IN: &str = columns!(
    "voice_call_batches AS b
     WHERE b.tenant_id = $1 AND b.state = $4 AND b.batch_id < $2
     ORDER BY b.tenant_id DESC, b.state DESC, b.batch_id DESC LIMIT $3"
);
/// All tenants', by state, oldest first. The list is made before it is sorted: else the
/// planner may walk the order through all batches that ever were.
pub(crate) const IN_STATES: &str = columns!(
    "(WITH open AS MATERIALIZED (
          SELECT o.batch_id FROM voice_call_batches AS o WHERE o.state = ANY ($1))
      SELECT * FROM open) AS i
     JOIN voice_call_batches AS b ON b.batch_id = i.batch_id AND b.state = ANY ($1)
     ORDER BY i.batch_id"
);
/// All tenants', by state, that have an entry due at `$2`, behind `$3`.
pub(crate) const DUE: &str = columns!(
    "(WITH open AS MATERIALIZED (
          SELECT o.tenant_id, o.batch_id FROM voice_call_batches AS o
          WHERE o.state = ANY ($1) AND o.batch_id > $3)
      SELECT o.batch_id FROM open AS o
      WHERE (SELECT min(e.not_before) FROM batch_entries AS e
             WHERE e.tenant_id = o.tenant_id AND e.batch_id = o.batch_id
               AND e.not_before IS NOT NULL) <= $2
      ORDER BY o.batch_id LIMIT $4) AS i
     JOIN voice_call_batches AS b ON b.batch_id = i.batch_id AND b.state = ANY ($1)
     ORDER BY i.batch_id"
);

fn row(row: &Row) -> Result<BatchRow> {
    read(row, |_, text| serde_json::from_str(text).map(Arc::new))
}

fn read(
    row: &Row,
    spec: impl FnOnce(&BatchId, &str) -> serde_json::Result<Arc<BatchSpec>>,
) -> Result<BatchRow> {
    let mut columns = Columns::of(row);
    let tenant = TenantId::new(columns.take::<String>()?);
    let id = BatchId::new(columns.take::<String>()?);
    let mut batch = BatchRow {
        spec: columns.text(|text| spec(&id, text))?,
        tenant,
        id,
        state: columns.name()?,
        reason: columns.take()?,
        event_seq: columns.u64()?,
        attempts: columns.u32()?,
        dials: columns.u32()?,
        counters: Counters::new(),
        created_at: columns.at()?,
        started_at: columns.maybe_at()?,
        finished_at: columns.maybe_at()?,
        limits: BatchLimits {
            max_concurrent: columns.maybe_u32()?,
            calls_per_second: columns.take()?,
        },
        paced_at: columns.maybe_at()?,
        claimed_at: columns.maybe_at()?,
        cancel: columns.maybe_name()?,
        rejected: columns.u32()?,
    };
    batch.counters = counters::read(&columns.take::<Vec<&str>>()?)?;
    Ok(batch)
}

/// A batch that is there already stays as it is.
pub(crate) async fn create(session: &Session, new: &NewBatch) -> Ended<()> {
    let sql = "INSERT INTO voice_call_batches (tenant_id, batch_id, spec, state, created_at)
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT (batch_id) DO NOTHING";
    let spec = serde_json::to_string(&new.spec).map_err(Fault::from)?;
    let (tenant, batch) = (new.tenant.as_str(), name(new.id.as_str()));
    let (state, at) = (BatchState::Loading.as_str(), new.created_at.as_micros());
    session.write(sql, &[&tenant, &batch, &spec, &state, &at]).await.map(drop)
}

/// Holds the batch until the end of the transaction; where it stands, `None` if the tenant
/// has no such batch.
pub(crate) async fn hold(
    session: &Session,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<Option<BatchState>> {
    let sql = "SELECT state FROM voice_call_batches
               WHERE tenant_id = $1 AND batch_id = $2 FOR NO KEY UPDATE";
    let found = session.ask_one(sql, &[&tenant.as_str(), &name(batch.as_str())]).await?;
    found.map(|row| Columns::of(&row).name()).transpose()
}

/// Removes a batch that is still loading, with its entries. Nothing else can point at it.
pub(crate) async fn discard(session: &Session, tenant: &TenantId, batch: &BatchId) -> Result<bool> {
    if hold(session, tenant, batch).await? != Some(BatchState::Loading) {
        return Ok(false);
    }
    entries::remove_all(session, tenant, batch).await?;
    counters::remove_all(session, tenant, batch).await?;
    rejects::remove_all(session, tenant, batch).await?;
    let sql = "DELETE FROM voice_call_batches WHERE tenant_id = $1 AND batch_id = $2";
    session.run(sql, &[&tenant.as_str(), &batch.as_str()]).await?;
    Ok(true)
}

pub(crate) async fn one(
    session: &Session,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<Option<BatchRow>> {
    let found = session.ask_one(ONE, &[&tenant.as_str(), &name(batch.as_str())]).await?;
    found.as_ref().map(row).transpose()
}

/// Behind every id: those are of letters, digits and underscores.
const NEWEST: &str = "~";

pub(crate) async fn of_tenant(
    session: &Session,
    tenant: &TenantId,
    filter: &BatchFilter,
    limit: u32,
) -> Result<Vec<BatchRow>> {
    let before = filter.before.as_ref().map_or(NEWEST, |before| name(before.as_str()));
    let (tenant, limit) = (tenant.as_str(), i64::from(limit));
    let rows = match filter.state.map(BatchState::as_str) {
        Some(state) => session.ask(OF_TENANT_IN, &[&tenant, &before, &limit, &state]).await?,
        None => session.ask(OF_TENANT, &[&tenant, &before, &limit]).await?,
    };
    rows.iter().map(row).collect()
}

pub(crate) async fn in_states(
    session: &Session,
    specs: &Specs,
    states: &[BatchState],
) -> Result<Vec<BatchRow>> {
    let rows = session.ask(IN_STATES, &[&state_list(states)]).await?;
    rows.iter().map(|row| read(row, |id, text| specs.of(id, text))).collect()
}

pub(crate) async fn due(
    session: &Session,
    specs: &Specs,
    states: &[BatchState],
    now: Timestamp,
    after: Option<&BatchId>,
    limit: u32,
) -> Result<Vec<BatchRow>> {
    let after = after.map_or("", |after| name(after.as_str()));
    let (now, limit) = (now.as_micros(), i64::from(limit));
    let rows = session.ask(DUE, &[&state_list(states), &now, &after, &limit]).await?;
    rows.iter().map(|row| read(row, |id, text| specs.of(id, text))).collect()
}

/// When the next waiting entry of a batch in one of `$2` falls due after `$1`.
pub(crate) const NEXT_WAITING: &str = "
    SELECT min((SELECT min(e.not_before) FROM batch_entries AS e
                WHERE e.tenant_id = b.tenant_id AND e.batch_id = b.batch_id
                  AND e.not_before > $1))
    FROM voice_call_batches AS b
    WHERE b.state = ANY ($2)";

pub(crate) async fn next_waiting(
    session: &Session,
    now: Timestamp,
    claimable: &[BatchState],
) -> Result<Option<Timestamp>> {
    let row = session.ask_one(NEXT_WAITING, &[&now.as_micros(), &state_list(claimable)]).await?;
    Ok(row.map(|row| Columns::of(&row).maybe_at()).transpose()?.flatten())
}

/// Holds batches until the end of the transaction, in the order of their ids.
pub(crate) const HOLD: &str = "
    SELECT b.tenant_id, b.batch_id, b.event_seq
    FROM unnest($1::text[], $2::text[]) AS i (tenant_id, batch_id)
    JOIN voice_call_batches AS b ON b.tenant_id = i.tenant_id AND b.batch_id = i.batch_id
    ORDER BY b.batch_id
    FOR NO KEY UPDATE OF b";

/// Moves batches that are where their changes expect them. Its place among the batch's
/// events a move gets later in the same transaction; until then it is behind all.
pub(crate) const MOVE: &str = "
    UPDATE voice_call_batches AS b
    SET state = i.to_state, reason = i.reason, moved_seq = 9223372036854775807,
        started_at = coalesce(b.started_at, i.started_at),
        finished_at = coalesce(i.finished_at, b.finished_at),
        max_concurrent = CASE WHEN i.limited THEN i.max_concurrent ELSE b.max_concurrent END,
        calls_per_second =
            CASE WHEN i.limited THEN i.calls_per_second ELSE b.calls_per_second END,
        cancel_mode = coalesce(i.cancel_mode, b.cancel_mode),
        paced_at = CASE WHEN i.limited AND b.calls_per_second IS DISTINCT FROM i.calls_per_second
                        THEN NULL ELSE b.paced_at END
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                $7::bigint[], $8::bigint[], $9::boolean[], $10::bigint[],
                $11::double precision[], $12::text[], $13::bigint[])
         AS i (place, tenant_id, batch_id, from_state, to_state, reason, started_at, finished_at,
               limited, max_concurrent, calls_per_second, cancel_mode, unmoved_since)
    WHERE b.tenant_id = i.tenant_id AND b.batch_id = i.batch_id AND b.state = i.from_state
      AND (i.unmoved_since IS NULL OR b.moved_seq <= i.unmoved_since)
    RETURNING i.place";

/// Moves each batch that is where its change expects it; the places of those changes. No
/// batch may be named twice.
pub(crate) async fn move_all(
    session: &Session,
    moves: &[(usize, &BatchTransition)],
) -> Result<Vec<Row>> {
    let statement = session.statement(MOVE).await?;
    let changes = || moves.iter().map(|(_, change)| *change);
    let places: Vec<i64> = moves.iter().map(|(place, _)| crate::convert::count(*place)).collect();
    let tenants: Vec<_> = changes().map(|c| c.tenant.as_str()).collect();
    let batches: Vec<_> = changes().map(|c| name(c.batch.as_str())).collect();
    let from: Vec<_> = changes().map(|c| c.from.as_str()).collect();
    let to: Vec<_> = changes().map(|c| c.to.as_str()).collect();
    let reasons: Vec<_> = changes().map(|c| c.reason.as_deref().map(prose)).collect();
    let at = |set: fn(&BatchTransition) -> bool| -> Vec<Option<i64>> {
        changes().map(|c| set(c).then(|| c.at.as_micros())).collect()
    };
    let started = at(|c| c.to == BatchState::Running);
    let finished = at(|c| c.to.is_terminal());
    let limited: Vec<bool> = changes().map(|c| c.limits.is_some()).collect();
    let limits = || changes().map(|c| c.limits.unwrap_or_default());
    let most: Vec<_> = limits().map(|limits| limits.max_concurrent.map(i64::from)).collect();
    let rates: Vec<_> = limits().map(|limits| limits.calls_per_second).collect();
    let cancels: Vec<_> = changes().map(|c| c.cancel.map(CancelMode::as_str)).collect();
    // What no column holds is later than every move.
    let seen = |since: u64| i64::try_from(since).unwrap_or(i64::MAX);
    let unmoved: Vec<_> = changes().map(|c| c.unmoved_since.map(seen)).collect();
    let values: Values<'_> = &[
        &places, &tenants, &batches, &from, &to, &reasons, &started, &finished, &limited, &most,
        &rates, &cancels, &unmoved,
    ];
    session.rows(&statement, values).await
}

/// What changes add to the figures of a batch that is held.
pub(crate) struct Figures<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) batch: &'a BatchId,
    /// Of the last event there is now.
    pub(crate) event_seq: i64,
    /// Of the last event of the batch's own, if it has moved.
    pub(crate) moved_seq: Option<i64>,
    pub(crate) attempts: i64,
    pub(crate) dials: i64,
}

/// Writes figures of batches that are held.
pub(crate) const FIGURES: &str = "
    UPDATE voice_call_batches AS b
    SET event_seq = i.event_seq, attempts = b.attempts + i.attempts, dials = b.dials + i.dials,
        moved_seq = coalesce(i.moved_seq, b.moved_seq)
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
         AS i (tenant_id, batch_id, event_seq, moved_seq, attempts, dials)
    WHERE b.tenant_id = i.tenant_id AND b.batch_id = i.batch_id";

/// Nothing is sent if there are none.
pub(crate) async fn write_figures(session: &Session, figures: &[Figures<'_>]) -> Result<()> {
    if figures.is_empty() {
        return Ok(());
    }
    let statement = session.statement(FIGURES).await?;
    let tenants: Vec<_> = figures.iter().map(|f| f.tenant.as_str()).collect();
    let batches: Vec<_> = figures.iter().map(|f| f.batch.as_str()).collect();
    let seqs: Vec<i64> = figures.iter().map(|f| f.event_seq).collect();
    let moved: Vec<Option<i64>> = figures.iter().map(|f| f.moved_seq).collect();
    let attempts: Vec<i64> = figures.iter().map(|f| f.attempts).collect();
    let dials: Vec<i64> = figures.iter().map(|f| f.dials).collect();
    let values: Values<'_> = &[&tenants, &batches, &seqs, &moved, &attempts, &dials];
    session.touch(&statement, values).await.map(drop)
}
