//! `batch_counters`: entries by state and outcome.

use std::collections::BTreeMap;

use dialtone_contract::{BatchId, EntryState, Outcome, TenantId};
use dialtone_store::{CounterKey, Counters};
use rusqlite::{Connection, params};

use crate::convert::{Columns, Fault, Result};

const OF: &str = "SELECT state, nullif(outcome, ''), n FROM batch_counters
                  WHERE tenant_id = ?1 AND batch_id = ?2 AND n > 0";

pub(crate) fn of(connection: &Connection, tenant: &TenantId, batch: &BatchId) -> Result<Counters> {
    let mut statement = connection.prepare_cached(OF)?;
    let rows = statement.query_map(params![tenant.as_str(), batch.as_str()], |row| {
        let mut columns = Columns::of(row);
        Ok(((columns.name()?, columns.maybe_name()?), columns.take()?))
    })?;
    Ok(rows.collect::<rusqlite::Result<Counters>>()?)
}

/// Entries of the tenant with an attempt under way, of all its batches.
pub(crate) fn in_flight_of_tenant(connection: &Connection, tenant: &TenantId) -> Result<u32> {
    let sql = "SELECT coalesce(sum(n), 0) FROM batch_counters INDEXED BY batch_counters_tenant
               WHERE tenant_id = ?1 AND state IN (SELECT value FROM json_each(?2))";
    let in_flight = EntryState::ALL.iter().filter(|state| state.is_in_flight());
    let states = serde_json::to_string(&in_flight.collect::<Vec<_>>())?;
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row(params![tenant.as_str(), states], |row| row.get(0))?)
}

/// Net moves between counters, gathered so that each row is written once.
#[derive(Default)]
pub(crate) struct Moves(BTreeMap<CounterKey, i64>);

impl Moves {
    pub(crate) fn enter(&mut self, key: CounterKey, n: i64) {
        *self.0.entry(key).or_default() += n;
    }

    pub(crate) fn leave(&mut self, key: CounterKey) {
        self.enter(key, -1);
    }

    pub(crate) fn write(
        self,
        connection: &Connection,
        tenant: &TenantId,
        batch: &BatchId,
    ) -> Result<()> {
        let sql = "UPDATE batch_counters SET n = n + ?5
                   WHERE tenant_id = ?1 AND batch_id = ?2 AND state = ?3 AND outcome = ?4";
        let new = "INSERT INTO batch_counters (tenant_id, batch_id, state, outcome, n)
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        for ((state, outcome), n) in self.0.into_iter().filter(|(_, n)| *n != 0) {
            let outcome = outcome.map_or("", Outcome::as_str);
            let values = params![tenant.as_str(), batch.as_str(), state.as_str(), outcome, n];
            if connection.prepare_cached(sql)?.execute(values)? == 1 {
                continue;
            }
            if n < 0 {
                // The change says that it comes from an outcome that no entry has.
                let text = format!("no entry of {batch} counts as {state} {outcome}");
                return Err(Fault::Impossible(text));
            }
            connection.prepare_cached(new)?.execute(values)?;
        }
        Ok(())
    }
}

/// Removes the counters of a batch that is still loading.
pub(crate) fn remove_all(
    connection: &Connection,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<()> {
    let sql = "DELETE FROM batch_counters WHERE tenant_id = ?1 AND batch_id = ?2";
    connection.prepare_cached(sql)?.execute(params![tenant.as_str(), batch.as_str()])?;
    Ok(())
}
