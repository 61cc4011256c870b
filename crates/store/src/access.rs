//! Tenants and their API keys: who may ask at all.

use async_trait::async_trait;
use dialtone_auth::KeyHash;
use dialtone_clock::Timestamp;
use dialtone_contract::TenantId;

use crate::StoreError;

/// An API key to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApiKey {
    /// By which it is listed and revoked.
    pub id: String,
    /// What its users call it.
    pub name: Option<String>,
    /// What is kept of its text.
    pub hash: KeyHash,
    /// When it was made.
    pub at: Timestamp,
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRow {
    /// Whose requests it makes.
    pub tenant: TenantId,
    /// By which it is listed and revoked.
    pub id: String,
    /// What its users call it.
    pub name: Option<String>,
    /// What is kept of its text.
    pub hash: KeyHash,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it is refused.
    pub revoked_at: Option<Timestamp>,
}

/// Tenants and their API keys. [`Access::api_key`] alone is not asked under a tenant: it is
/// how a request's tenant is found.
#[async_trait]
pub trait Access: Send + Sync + 'static {
    /// Adds a tenant; `false` if it was there.
    async fn add_tenant(&self, tenant: &TenantId) -> Result<bool, StoreError>;

    /// Every tenant, by name.
    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError>;

    /// Adds a voice; `false` if it was there, or there is no such tenant.
    async fn add_voice(&self, tenant: &TenantId, voice: &str) -> Result<bool, StoreError>;

    /// Adds a user; `false` if it was there, or there is no such tenant.
    async fn add_user(&self, tenant: &TenantId, user: i64) -> Result<bool, StoreError>;

    /// Adds an API key; `false` if its id was there, or there is no such tenant.
    async fn add_api_key(&self, tenant: &TenantId, key: NewApiKey) -> Result<bool, StoreError>;

    /// A tenant's API keys, oldest first, revoked ones too.
    async fn api_keys(&self, tenant: &TenantId) -> Result<Vec<ApiKeyRow>, StoreError>;

    /// Refuses an API key from now on; `false` if there is none that is not refused already.
    async fn revoke_api_key(
        &self,
        tenant: &TenantId,
        id: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// The API key with this id, whoever's it is.
    async fn api_key(&self, id: &str) -> Result<Option<ApiKeyRow>, StoreError>;

    /// Whether there is any API key, revoked ones too.
    async fn has_api_keys(&self) -> Result<bool, StoreError>;
}
