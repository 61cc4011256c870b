//! Tenants and their API keys.

use async_trait::async_trait;
use dialtone_clock::Timestamp;
use dialtone_contract::TenantId;
use dialtone_store::{Access, ApiKeyRow, NewApiKey, StoreError};

use crate::SqliteStore;
use crate::sql::access;
use crate::writer::Written;

#[async_trait]
impl Access for SqliteStore {
    async fn add_tenant(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        self.write(move |c| access::add_tenant(c, &tenant).map(Written::quietly)).await
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        self.read(access::tenants).await
    }

    async fn add_voice(&self, tenant: &TenantId, voice: &str) -> Result<bool, StoreError> {
        let (tenant, voice) = (tenant.clone(), voice.to_owned());
        self.write(move |c| access::add_voice(c, &tenant, &voice).map(Written::quietly)).await
    }

    async fn add_user(&self, tenant: &TenantId, user: i64) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        self.write(move |c| access::add_user(c, &tenant, user).map(Written::quietly)).await
    }

    async fn add_api_key(&self, tenant: &TenantId, key: NewApiKey) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        self.write(move |c| access::add_api_key(c, &tenant, &key).map(Written::quietly)).await
    }

    async fn api_keys(&self, tenant: &TenantId) -> Result<Vec<ApiKeyRow>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |c| access::api_keys(c, &tenant)).await
    }

    async fn revoke_api_key(
        &self,
        tenant: &TenantId,
        id: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let (tenant, id) = (tenant.clone(), id.to_owned());
        self.write(move |c| access::revoke_api_key(c, &tenant, &id, at).map(Written::quietly)).await
    }

    async fn api_key(&self, id: &str) -> Result<Option<ApiKeyRow>, StoreError> {
        let id = id.to_owned();
        self.read_one(move |c| access::api_key(c, &id)).await
    }

    async fn has_api_keys(&self) -> Result<bool, StoreError> {
        self.read_one(access::has_api_keys).await
    }
}
