//! `webhooks`: endpoints that are told of a tenant's batches.

use dialtone_contract::TenantId;
use dialtone_store::Webhook;
use rusqlite::{Connection, params};

use crate::convert::{Columns, Result};

/// Adds an endpoint if there is such a tenant.
pub(crate) fn add(connection: &Connection, tenant: &TenantId, webhook: &Webhook) -> Result<bool> {
    let sql = "INSERT INTO webhooks (tenant_id, webhook_id, url, events, created_at)
               SELECT tenant_id, ?2, ?3, ?4, dt_now() FROM tenants WHERE tenant_id = ?1";
    let events = serde_json::to_string(&webhook.events)?;
    let values = params![tenant.as_str(), webhook.id, webhook.url, events];
    Ok(connection.prepare_cached(sql)?.execute(values)? == 1)
}

pub(crate) fn of(connection: &Connection, tenant: &TenantId) -> Result<Vec<Webhook>> {
    let sql = "SELECT webhook_id, url, events FROM webhooks
               WHERE tenant_id = ?1 ORDER BY webhook_id";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([tenant.as_str()], |row| {
        let mut columns = Columns::of(row);
        let (id, url) = (columns.take()?, columns.take()?);
        Ok(Webhook { id, url, events: columns.text(|text| serde_json::from_str(text))? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn remove(connection: &Connection, tenant: &TenantId, id: &str) -> Result<bool> {
    let sql = "DELETE FROM webhooks WHERE tenant_id = ?1 AND webhook_id = ?2";
    Ok(connection.prepare_cached(sql)?.execute(params![tenant.as_str(), id])? == 1)
}
