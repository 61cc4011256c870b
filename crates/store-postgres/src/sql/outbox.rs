//! `outbox`: what has to leave the platform.

use dialtone_clock::Timestamp;
use dialtone_contract::TenantId;
use dialtone_store::{Lane, OutboxItem, OutboxRow};

use crate::convert::Columns;
use crate::fault::{Ended, Result};
use crate::session::{Session, Values};

/// Items to be added, in order.
#[derive(Default)]
pub(crate) struct Items<'a> {
    tenants: Vec<&'a str>,
    lanes: Vec<&'static str>,
    items: Vec<String>,
    due_at: Vec<i64>,
}

/// Adds items. Their ids are given in the order of the arrays.
pub(crate) const ADD: &str = "
    INSERT INTO outbox (tenant_id, lane, item, due_at)
    SELECT i.tenant_id, i.lane, i.item, i.due_at
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) WITH ORDINALITY
         AS i (tenant_id, lane, item, due_at, place)
    ORDER BY i.place";

impl<'a> Items<'a> {
    pub(crate) fn add(
        &mut self,
        tenant: &'a TenantId,
        items: &[OutboxItem],
        at: Timestamp,
    ) -> Result<()> {
        for item in items {
            self.tenants.push(tenant.as_str());
            self.lanes.push(item.lane().as_str());
            self.items.push(serde_json::to_string(item)?);
            self.due_at.push(at.as_micros());
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) async fn write(&self, session: &Session) -> Result<()> {
        let add = session.statement(ADD).await?;
        let values: Values<'_> = &[&self.tenants, &self.lanes, &self.items, &self.due_at];
        session.touch(&add, values).await.map(drop)
    }
}

/// Hands out due items of a lane, earliest first. What another server hands out in this
/// moment is left to it.
pub(crate) const HAND_OUT: &str = "
    WITH due AS MATERIALIZED (
        SELECT id, due_at FROM outbox
        WHERE lane = $1 AND due_at <= $2
        ORDER BY due_at, id LIMIT $3
        FOR UPDATE SKIP LOCKED)
    UPDATE outbox AS o SET due_at = $4, tries = o.tries + 1
    FROM due WHERE o.id = due.id
    RETURNING o.id, o.tenant_id, o.item, o.tries, due.due_at";

/// Hands out due items, which fall due again at `again_at`.
pub(crate) async fn hand_out(
    session: &Session,
    lane: Lane,
    now: Timestamp,
    again_at: Timestamp,
    limit: u32,
) -> Ended<Vec<OutboxRow>> {
    let (now, again_at, limit) = (now.as_micros(), again_at.as_micros(), i64::from(limit));
    let rows = session.write_rows(HAND_OUT, &[&lane.as_str(), &now, &limit, &again_at]).await?;
    let read = |row| {
        let mut columns = Columns::of(row);
        let row = OutboxRow {
            id: columns.take()?,
            tenant: TenantId::new(columns.take::<String>()?),
            item: columns.text(|text| serde_json::from_str(text))?,
            tries: columns.u32()?,
        };
        Ok((columns.take::<i64>()?, row))
    };
    let mut due: Vec<(i64, OutboxRow)> = rows.iter().map(read).collect::<Result<_>>()?;
    due.sort_by_key(|(due_at, row)| (*due_at, row.id));
    Ok(due.into_iter().map(|(_, row)| row).collect())
}

pub(crate) async fn done(session: &Session, ids: &[i64]) -> Ended<()> {
    let sql = "DELETE FROM outbox WHERE id = ANY ($1)";
    session.write(sql, &[&ids]).await.map(drop)
}

/// Makes an item due at `at`, tried so many times.
pub(crate) async fn later(session: &Session, id: i64, at: Timestamp, tries: u32) -> Ended<()> {
    let sql = "UPDATE outbox SET due_at = $2, tries = $3 WHERE id = $1";
    session.write(sql, &[&id, &at.as_micros(), &i64::from(tries)]).await.map(drop)
}

/// When the next item of any lane falls due after `$1`.
pub(crate) const NEXT: &str = "
    SELECT min((SELECT min(o.due_at) FROM outbox AS o WHERE o.lane = l.lane AND o.due_at > $1))
    FROM unnest($2::text[]) AS l (lane)";

pub(crate) async fn next(session: &Session, now: Timestamp) -> Result<Option<Timestamp>> {
    let lanes: Vec<&str> = Lane::ALL.iter().map(|lane| lane.as_str()).collect();
    let row = session.ask_one(NEXT, &[&now.as_micros(), &lanes]).await?;
    Ok(row.map(|row| Columns::of(&row).maybe_at()).transpose()?.flatten())
}
