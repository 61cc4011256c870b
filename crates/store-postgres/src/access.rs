//! Tenants and their API keys.

use std::sync::Arc;

use async_trait::async_trait;
use dialtone_clock::Timestamp;
use dialtone_contract::TenantId;
use dialtone_store::{Access, ApiKeyRow, NewApiKey, StoreError};

use crate::PostgresStore;
use crate::sql::access;

#[async_trait]
impl Access for PostgresStore {
    async fn add_tenant(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        self.write(move |session| {
            let tenant = tenant.clone();
            async move { access::add_tenant(&session, &tenant).await }
        })
        .await
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        Ok(access::tenants(&*self.read().await?).await?)
    }

    async fn add_voice(&self, tenant: &TenantId, voice: &str) -> Result<bool, StoreError> {
        let what = Arc::new((tenant.clone(), voice.to_owned()));
        self.write(move |session| {
            let what = Arc::clone(&what);
            async move { access::add_voice(&session, &what.0, &what.1).await }
        })
        .await
    }

    async fn add_user(&self, tenant: &TenantId, user: i64) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        self.write(move |session| {
            let tenant = tenant.clone();
            async move { access::add_user(&session, &tenant, user).await }
        })
        .await
    }

    async fn add_api_key(&self, tenant: &TenantId, key: NewApiKey) -> Result<bool, StoreError> {
        let what = Arc::new((tenant.clone(), key));
        self.write(move |session| {
            let what = Arc::clone(&what);
            async move { access::add_api_key(&session, &what.0, &what.1).await }
        })
        .await
    }

    async fn api_keys(&self, tenant: &TenantId) -> Result<Vec<ApiKeyRow>, StoreError> {
        Ok(access::api_keys(&*self.read().await?, tenant).await?)
    }

    async fn revoke_api_key(
        &self,
        tenant: &TenantId,
        id: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let what = Arc::new((tenant.clone(), id.to_owned()));
        self.write(move |session| {
            let what = Arc::clone(&what);
            async move { access::revoke_api_key(&session, &what.0, &what.1, at).await }
        })
        .await
    }

    async fn api_key(&self, id: &str) -> Result<Option<ApiKeyRow>, StoreError> {
        Ok(access::api_key(&*self.read().await?, id).await?)
    }

    async fn has_api_keys(&self) -> Result<bool, StoreError> {
        Ok(access::has_api_keys(&*self.read().await?).await?)
    }
}
