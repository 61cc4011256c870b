//! `tenants`, `users`, `voices`.

use dialtone_contract::TenantId;

use crate::convert::{Columns, name};
use crate::fault::{Ended, Result};
use crate::session::Session;

/// Makes sure that a tenant with this user and this voice exists.
pub(crate) async fn seed(
    session: &Session,
    tenant: &TenantId,
    user: i64,
    voice: &str,
) -> Ended<()> {
    super::access::add_tenant(session, tenant).await?;
    super::access::add_user(session, tenant, user).await?;
    super::access::add_voice(session, tenant, voice).await.map(drop)
}

pub(crate) async fn has_voice(session: &Session, tenant: &TenantId, voice: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM voices WHERE tenant_id = $1 AND voice_id = $2";
    Ok(session.ask_one(sql, &[&tenant.as_str(), &name(voice)]).await?.is_some())
}

pub(crate) async fn has_user(session: &Session, tenant: &TenantId, user: i64) -> Result<bool> {
    let sql = "SELECT 1 FROM users WHERE tenant_id = $1 AND user_id = $2";
    Ok(session.ask_one(sql, &[&tenant.as_str(), &user]).await?.is_some())
}

/// Calls that the tenant may have in flight at once, if that is bounded.
pub(crate) async fn max_concurrent(session: &Session, tenant: &TenantId) -> Result<Option<u32>> {
    let sql = "SELECT max_concurrent FROM tenants WHERE tenant_id = $1";
    let found = session.ask_one(sql, &[&tenant.as_str()]).await?;
    Ok(found.map(|row| Columns::of(&row).maybe_u32()).transpose()?.flatten())
}

pub(crate) async fn set_max_concurrent(
    session: &Session,
    tenant: &TenantId,
    max: Option<u32>,
) -> Ended<bool> {
    let sql = "UPDATE tenants SET max_concurrent = $2 WHERE tenant_id = $1";
    Ok(session.write(sql, &[&tenant.as_str(), &max.map(i64::from)]).await? == 1)
}
