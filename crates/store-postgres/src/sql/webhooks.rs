//! `webhooks`: endpoints that are told of a tenant's batches.

use dialtone_contract::TenantId;
use dialtone_store::Webhook;

use crate::convert::{Columns, name, prose};
use crate::fault::{Ended, Fault, Result};
use crate::session::Session;

/// Adds an endpoint if there is such a tenant.
pub(crate) async fn add(session: &Session, tenant: &TenantId, webhook: &Webhook) -> Ended<bool> {
    let sql = "INSERT INTO webhooks (tenant_id, webhook_id, url, events, created_at)
               SELECT tenant_id, $2, $3, $4, dt_now() FROM tenants WHERE tenant_id = $1";
    let events = serde_json::to_string(&webhook.events).map_err(Fault::from)?;
    let (id, url) = (name(&webhook.id), prose(&webhook.url));
    Ok(session.write(sql, &[&tenant.as_str(), &id, &url, &events]).await? == 1)
}

pub(crate) async fn of(session: &Session, tenant: &TenantId) -> Result<Vec<Webhook>> {
    let sql = "SELECT webhook_id, url, events FROM webhooks
               WHERE tenant_id = $1 ORDER BY webhook_id";
    let read = |row| {
        let mut columns = Columns::of(row);
        let (id, url) = (columns.take()?, columns.take()?);
        Ok(Webhook { id, url, events: columns.text(|text| serde_json::from_str(text))? })
    };
    session.ask(sql, &[&tenant.as_str()]).await?.iter().map(read).collect()
}

pub(crate) async fn remove(session: &Session, tenant: &TenantId, id: &str) -> Ended<bool> {
    let sql = "DELETE FROM webhooks WHERE tenant_id = $1 AND webhook_id = $2";
    Ok(session.write(sql, &[&tenant.as_str(), &name(id)]).await? == 1)
}
