//! `tenants`, `users`, `voices`.

use dialtone_contract::TenantId;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::convert::Result;

/// Makes sure that a tenant with this user and this voice exists.
pub(crate) fn seed(
    connection: &Connection,
    tenant: &TenantId,
    user: i64,
    voice: &str,
) -> Result<()> {
    let sql = "INSERT INTO tenants (tenant_id, created_at) VALUES (?1, dt_now())
               ON CONFLICT DO NOTHING";
    connection.prepare_cached(sql)?.execute([tenant.as_str()])?;
    let sql = "INSERT INTO users (tenant_id, user_id, created_at) VALUES (?1, ?2, dt_now())
               ON CONFLICT DO NOTHING";
    connection.prepare_cached(sql)?.execute(params![tenant.as_str(), user])?;
    let sql = "INSERT INTO voices (tenant_id, voice_id, created_at) VALUES (?1, ?2, dt_now())
               ON CONFLICT DO NOTHING";
    connection.prepare_cached(sql)?.execute(params![tenant.as_str(), voice])?;
    Ok(())
}

pub(crate) fn has_voice(connection: &Connection, tenant: &TenantId, voice: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM voices WHERE tenant_id = ?1 AND voice_id = ?2";
    Ok(connection.prepare_cached(sql)?.exists(params![tenant.as_str(), voice])?)
}

pub(crate) fn has_user(connection: &Connection, tenant: &TenantId, user: i64) -> Result<bool> {
    let sql = "SELECT 1 FROM users WHERE tenant_id = ?1 AND user_id = ?2";
    Ok(connection.prepare_cached(sql)?.exists(params![tenant.as_str(), user])?)
}

/// Calls that the tenant may have in flight at once, if that is bounded.
pub(crate) fn max_concurrent(connection: &Connection, tenant: &TenantId) -> Result<Option<u32>> {
    let sql = "SELECT max_concurrent FROM tenants WHERE tenant_id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([tenant.as_str()], |row| row.get(0)).optional()?.flatten())
}

pub(crate) fn set_max_concurrent(
    connection: &Connection,
    tenant: &TenantId,
    max: Option<u32>,
) -> Result<bool> {
    let sql = "UPDATE tenants SET max_concurrent = ?2 WHERE tenant_id = ?1";
    Ok(connection.prepare_cached(sql)?.execute(params![tenant.as_str(), max])? == 1)
}
