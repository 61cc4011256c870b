//! `tenants`, `users`, `voices`, `api_keys`, as their owner changes them.

use dialtone_auth::KeyHash;
use dialtone_clock::Timestamp;
use dialtone_contract::TenantId;
use dialtone_store::{ApiKeyRow, NewApiKey};
use tokio_postgres::Row;

use crate::convert::{Columns, maybe_prose, name};
use crate::fault::{Ended, Result};
use crate::session::Session;

macro_rules! keys {
    ($rest:literal) => {
        concat!(
            "SELECT tenant_id, key_id, name, hash, created_at, revoked_at FROM api_keys ",
            $rest
        )
    };
}

pub(crate) async fn add_tenant(session: &Session, tenant: &TenantId) -> Ended<bool> {
    let sql = "INSERT INTO tenants (tenant_id, created_at) VALUES ($1, dt_now())
               ON CONFLICT DO NOTHING";
    Ok(session.write(sql, &[&tenant.as_str()]).await? == 1)
}

pub(crate) async fn tenants(session: &Session) -> Result<Vec<TenantId>> {
    let rows = session.ask("SELECT tenant_id FROM tenants ORDER BY tenant_id", &[]).await?;
    rows.iter().map(|row| Columns::of(row).take::<String>().map(TenantId::new)).collect()
}

pub(crate) async fn add_voice(session: &Session, tenant: &TenantId, voice: &str) -> Ended<bool> {
    let sql = "INSERT INTO voices (tenant_id, voice_id, created_at)
               SELECT tenant_id, $2, dt_now() FROM tenants WHERE tenant_id = $1
               ON CONFLICT DO NOTHING";
    Ok(session.write(sql, &[&tenant.as_str(), &name(voice)]).await? == 1)
}

pub(crate) async fn add_user(session: &Session, tenant: &TenantId, user: i64) -> Ended<bool> {
    let sql = "INSERT INTO users (tenant_id, user_id, created_at)
               SELECT tenant_id, $2, dt_now() FROM tenants WHERE tenant_id = $1
               ON CONFLICT DO NOTHING";
    Ok(session.write(sql, &[&tenant.as_str(), &user]).await? == 1)
}

pub(crate) async fn add_api_key(
    session: &Session,
    tenant: &TenantId,
    key: &NewApiKey,
) -> Ended<bool> {
    let sql = "INSERT INTO api_keys (tenant_id, key_id, name, hash, created_at)
               SELECT tenant_id, $2, $3, $4, $5 FROM tenants WHERE tenant_id = $1
               ON CONFLICT DO NOTHING";
    let (label, at) = (maybe_prose(key.name.as_ref()), key.at.as_micros());
    let (tenant, id, hash) = (tenant.as_str(), name(&key.id), key.hash.0.as_slice());
    Ok(session.write(sql, &[&tenant, &id, &label, &hash, &at]).await? == 1)
}

pub(crate) async fn api_keys(session: &Session, tenant: &TenantId) -> Result<Vec<ApiKeyRow>> {
    let sql = keys!("WHERE tenant_id = $1 ORDER BY tenant_id, created_at, key_id");
    session.ask(sql, &[&tenant.as_str()]).await?.iter().map(row).collect()
}

pub(crate) async fn revoke_api_key(
    session: &Session,
    tenant: &TenantId,
    id: &str,
    at: Timestamp,
) -> Ended<bool> {
    let sql = "UPDATE api_keys SET revoked_at = $3
               WHERE tenant_id = $1 AND key_id = $2 AND revoked_at IS NULL";
    Ok(session.write(sql, &[&tenant.as_str(), &name(id), &at.as_micros()]).await? == 1)
}

/// The key with this id, whoever's it is: it says whose a request is.
pub(crate) async fn api_key(session: &Session, id: &str) -> Result<Option<ApiKeyRow>> {
    let found = session.ask_one(keys!("WHERE key_id = $1"), &[&name(id)]).await?;
    found.as_ref().map(row).transpose()
}

pub(crate) async fn has_api_keys(session: &Session) -> Result<bool> {
    Ok(session.ask_one("SELECT 1 FROM api_keys LIMIT 1", &[]).await?.is_some())
}

fn row(row: &Row) -> Result<ApiKeyRow> {
    let mut columns = Columns::of(row);
    Ok(ApiKeyRow {
        tenant: TenantId::new(columns.take::<String>()?),
        id: columns.take()?,
        name: columns.take()?,
        hash: KeyHash(columns.bytes()?),
        created_at: columns.at()?,
        revoked_at: columns.maybe_at()?,
    })
}
