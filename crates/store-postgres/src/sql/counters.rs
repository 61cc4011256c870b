//! `batch_counters`: entries by state and outcome.

use std::collections::BTreeMap;

use dialtone_contract::{BatchId, Outcome, TenantId};
use dialtone_store::{CounterKey, Counters};
use futures_util::future::join;
use tokio_postgres::types::ToSql;

use crate::convert::{Columns, in_flight};
use crate::fault::{Fault, Result};
use crate::session::Session;

/// A batch's counters as a column of its row, `b`: each `state n outcome`.
macro_rules! column {
    () => {
        "ARRAY (SELECT concat(c.state, ' ', c.n, ' ', c.outcome) FROM batch_counters AS c
                WHERE c.tenant_id = b.tenant_id AND c.batch_id = b.batch_id AND c.n > 0)"
    };
}
pub(crate) use column;

/// Reads what [`column!`] made.
pub(crate) fn read(texts: &[&str]) -> Result<Counters> {
    let one = |text: &&str| -> Option<(CounterKey, u32)> {
        let mut words = text.split(' ');
        let (state, n, outcome) = (words.next()?, words.next()?, words.next()?);
        let outcome = if outcome.is_empty() { None } else { Some(outcome.parse().ok()?) };
        Some(((state.parse().ok()?, outcome), n.parse().ok()?))
    };
    let unreadable = |text: &&str| Fault::Row(format!("`{text}` is no counter"));
    texts.iter().map(|text| one(text).ok_or_else(|| unreadable(text))).collect()
}

/// Entries with an attempt under way, of one batch.
pub(crate) const IN_FLIGHT: &str = "
    SELECT coalesce(sum(n), 0)::bigint FROM batch_counters
    WHERE tenant_id = $1 AND batch_id = $2 AND state = ANY ($3)";

/// As [`IN_FLIGHT`], of all batches of the tenant.
pub(crate) const IN_FLIGHT_OF_TENANT: &str = "
    SELECT coalesce(sum(n), 0)::bigint FROM batch_counters
    WHERE tenant_id = $1 AND state = ANY ($2)";

pub(crate) async fn in_flight_of_tenant(session: &Session, tenant: &TenantId) -> Result<u32> {
    let row = session.ask_one(IN_FLIGHT_OF_TENANT, &[&tenant.as_str(), &in_flight()]).await?;
    row.map_or(Ok(0), |row| Columns::of(&row).u32())
}

/// Net moves between the counters of some batches, gathered so that each row is written
/// once. Whoever writes them holds the batches.
#[derive(Default)]
pub(crate) struct Moves<'a>(BTreeMap<(&'a TenantId, &'a BatchId, CounterKey), i64>);

/// Makes the rows that are counted into for the first time. A row is never made with its
/// count: one below nothing must find the row it takes from, or fail.
pub(crate) const MAKE: &str = "
    INSERT INTO batch_counters (tenant_id, batch_id, state, outcome, n)
    SELECT i.tenant_id, i.batch_id, i.state, i.outcome, 0
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
         AS i (tenant_id, batch_id, state, outcome)
    ON CONFLICT (batch_id, state, outcome) DO NOTHING";

/// Counts.
pub(crate) const COUNT: &str = "
    UPDATE batch_counters AS c SET n = c.n + i.n
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
         AS i (tenant_id, batch_id, state, outcome, n)
    WHERE c.tenant_id = i.tenant_id AND c.batch_id = i.batch_id AND c.state = i.state
      AND c.outcome = i.outcome";

impl<'a> Moves<'a> {
    pub(crate) fn enter(
        &mut self,
        tenant: &'a TenantId,
        batch: &'a BatchId,
        key: CounterKey,
        n: i64,
    ) {
        *self.0.entry((tenant, batch, key)).or_default() += n;
    }

    pub(crate) fn leave(&mut self, tenant: &'a TenantId, batch: &'a BatchId, key: CounterKey) {
        self.enter(tenant, batch, key, -1);
    }

    /// Two statements, which are sent together.
    pub(crate) async fn write(&self, session: &Session) -> Result<()> {
        let moves: Vec<_> = self.0.iter().filter(|(_, n)| **n != 0).collect();
        if moves.is_empty() {
            return Ok(());
        }
        let make = session.statement(MAKE).await?;
        let count = session.statement(COUNT).await?;
        let tenants: Vec<&str> = moves.iter().map(|((tenant, _, _), _)| tenant.as_str()).collect();
        let batches: Vec<&str> = moves.iter().map(|((_, batch, _), _)| batch.as_str()).collect();
        let states: Vec<&str> =
            moves.iter().map(|((_, _, (state, _)), _)| state.as_str()).collect();
        let outcome = |outcome: &Option<Outcome>| outcome.map_or("", Outcome::as_str);
        let outcomes: Vec<&str> = moves.iter().map(|((_, _, (_, out)), _)| outcome(out)).collect();
        let n: Vec<i64> = moves.iter().map(|(_, n)| **n).collect();
        let made: [&(dyn ToSql + Sync); 4] = [&tenants, &batches, &states, &outcomes];
        let counted: [&(dyn ToSql + Sync); 5] = [&tenants, &batches, &states, &outcomes, &n];
        let both = join(session.touch(&make, &made), session.touch(&count, &counted));
        let (made, counted) = both.await;
        made?;
        counted.map(drop)
    }
}

/// Removes the counters of a batch that is still loading.
pub(crate) async fn remove_all(
    session: &Session,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<()> {
    let sql = "DELETE FROM batch_counters WHERE tenant_id = $1 AND batch_id = $2";
    session.run(sql, &[&tenant.as_str(), &batch.as_str()]).await.map(drop)
}
