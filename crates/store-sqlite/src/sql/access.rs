//! `tenants`, `users`, `voices`, `api_keys`, as their owner changes them.

use dialtone_auth::KeyHash;
use dialtone_clock::Timestamp;
use dialtone_contract::TenantId;
use dialtone_store::{ApiKeyRow, NewApiKey};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::convert::{Columns, Result};

const KEY: &str = "tenant_id, key_id, name, hash, created_at, revoked_at";

pub(crate) fn add_tenant(connection: &Connection, tenant: &TenantId) -> Result<bool> {
    let sql = "INSERT INTO tenants (tenant_id, created_at) VALUES (?1, dt_now())
               ON CONFLICT DO NOTHING";
    Ok(connection.prepare_cached(sql)?.execute([tenant.as_str()])? == 1)
}

pub(crate) fn tenants(connection: &Connection) -> Result<Vec<TenantId>> {
    let mut statement =
        connection.prepare_cached("SELECT tenant_id FROM tenants ORDER BY tenant_id")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0).map(TenantId::new))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn add_voice(connection: &Connection, tenant: &TenantId, voice: &str) -> Result<bool> {
    let sql = "INSERT INTO voices (tenant_id, voice_id, created_at)
               SELECT tenant_id, ?2, dt_now() FROM tenants WHERE tenant_id = ?1
               ON CONFLICT DO NOTHING";
    Ok(connection.prepare_cached(sql)?.execute(params![tenant.as_str(), voice])? == 1)
}

pub(crate) fn add_user(connection: &Connection, tenant: &TenantId, user: i64) -> Result<bool> {
    let sql = "INSERT INTO users (tenant_id, user_id, created_at)
               SELECT tenant_id, ?2, dt_now() FROM tenants WHERE tenant_id = ?1
               ON CONFLICT DO NOTHING";
    Ok(connection.prepare_cached(sql)?.execute(params![tenant.as_str(), user])? == 1)
}

pub(crate) fn add_api_key(
    connection: &Connection,
    tenant: &TenantId,
    key: &NewApiKey,
) -> Result<bool> {
    let sql = "INSERT INTO api_keys (tenant_id, key_id, name, hash, created_at)
               SELECT tenant_id, ?2, ?3, ?4, ?5 FROM tenants WHERE tenant_id = ?1
               ON CONFLICT DO NOTHING";
    let values = params![tenant.as_str(), key.id, key.name, key.hash.0, key.at.as_micros()];
    Ok(connection.prepare_cached(sql)?.execute(values)? == 1)
}

pub(crate) fn api_keys(connection: &Connection, tenant: &TenantId) -> Result<Vec<ApiKeyRow>> {
    let sql = format!(
        "SELECT {KEY} FROM api_keys WHERE tenant_id = ?1 ORDER BY tenant_id, created_at, key_id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([tenant.as_str()], row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn revoke_api_key(
    connection: &Connection,
    tenant: &TenantId,
    id: &str,
    at: Timestamp,
) -> Result<bool> {
    let sql = "UPDATE api_keys SET revoked_at = ?3
               WHERE tenant_id = ?1 AND key_id = ?2 AND revoked_at IS NULL";
    let values = params![tenant.as_str(), id, at.as_micros()];
    Ok(connection.prepare_cached(sql)?.execute(values)? == 1)
}

/// The key with this id, whoever's it is: it says whose a request is.
pub(crate) fn api_key(connection: &Connection, id: &str) -> Result<Option<ApiKeyRow>> {
    let sql = format!("SELECT {KEY} FROM api_keys WHERE key_id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id], row).optional()?)
}

pub(crate) fn has_api_keys(connection: &Connection) -> Result<bool> {
    Ok(connection.prepare_cached("SELECT 1 FROM api_keys LIMIT 1")?.exists([])?)
}

fn row(row: &Row<'_>) -> rusqlite::Result<ApiKeyRow> {
    let mut columns = Columns::of(row);
    Ok(ApiKeyRow {
        tenant: TenantId::new(columns.take::<String>()?),
        id: columns.take()?,
        name: columns.take()?,
        hash: KeyHash(columns.take()?),
        created_at: columns.at()?,
        revoked_at: columns.maybe_at()?,
    })
}
