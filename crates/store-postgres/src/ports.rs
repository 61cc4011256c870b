//! The smaller ports of the store: outbox, directory, suppressions, webhooks.

use std::sync::Arc;

use async_trait::async_trait;
use dialtone_auth::NumberKey;
use dialtone_clock::Timestamp;
use dialtone_contract::TenantId;
use dialtone_store::{
    Directory, Lane, Outbox, OutboxRow, StoreError, SuppressionRow, Suppressions, Webhook, Webhooks,
};

use crate::PostgresStore;
use crate::sql::{counters, directory, outbox, suppressions, webhooks};

#[async_trait]
impl Outbox for PostgresStore {
    async fn due_outbox(
        &self,
        lane: Lane,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        self.write(move |session| async move {
            outbox::hand_out(&session, lane, now, again_at, limit).await
        })
        .await
    }

    async fn outbox_done(&self, ids: &[i64]) -> Result<(), StoreError> {
        let ids: Arc<[i64]> = ids.into();
        self.write(move |session| {
            let ids = Arc::clone(&ids);
            async move { outbox::done(&session, &ids).await }
        })
        .await
    }

    async fn outbox_later(&self, id: i64, at: Timestamp, tries: u32) -> Result<(), StoreError> {
        self.write(move |session| async move { outbox::later(&session, id, at, tries).await }).await
    }
}

#[async_trait]
impl Directory for PostgresStore {
    async fn seed_demo(&self) -> Result<(), StoreError> {
        self.write(|session| async move {
            directory::seed(&session, &TenantId::new("demo"), 1, "demo").await
        })
        .await
    }

    async fn has_voice(&self, tenant: &TenantId, voice: &str) -> Result<bool, StoreError> {
        Ok(directory::has_voice(&*self.read().await?, tenant, voice).await?)
    }

    async fn has_user(&self, tenant: &TenantId, user: i64) -> Result<bool, StoreError> {
        Ok(directory::has_user(&*self.read().await?, tenant, user).await?)
    }

    async fn in_flight(&self, tenant: &TenantId) -> Result<u32, StoreError> {
        Ok(counters::in_flight_of_tenant(&*self.read().await?, tenant).await?)
    }

    async fn max_concurrent(&self, tenant: &TenantId) -> Result<Option<u32>, StoreError> {
        Ok(directory::max_concurrent(&*self.read().await?, tenant).await?)
    }

    async fn set_max_concurrent(
        &self,
        tenant: &TenantId,
        max: Option<u32>,
    ) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        let set = self.write(move |session| {
            let tenant = tenant.clone();
            async move { directory::set_max_concurrent(&session, &tenant, max).await }
        });
        let set = set.await?;
        if set {
            self.announce();
        }
        Ok(set)
    }
}

#[async_trait]
impl Suppressions for PostgresStore {
    async fn suppress(
        &self,
        tenant: &TenantId,
        numbers: &[NumberKey],
        source: &str,
        at: Timestamp,
    ) -> Result<u32, StoreError> {
        let what = Arc::new((tenant.clone(), numbers.to_vec(), source.to_owned()));
        self.write(move |session| {
            let what = Arc::clone(&what);
            async move { suppressions::add(&session, &what.0, &what.1, &what.2, at).await }
        })
        .await
    }

    async fn unsuppress(&self, tenant: &TenantId, number: NumberKey) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        self.write(move |session| {
            let tenant = tenant.clone();
            async move { suppressions::remove(&session, &tenant, number).await }
        })
        .await
    }

    async fn suppressions(
        &self,
        tenant: &TenantId,
        after: Option<NumberKey>,
        limit: u32,
    ) -> Result<Vec<SuppressionRow>, StoreError> {
        Ok(suppressions::page(&*self.read().await?, tenant, after, limit).await?)
    }

    async fn is_suppressed(
        &self,
        tenant: &TenantId,
        number: NumberKey,
    ) -> Result<bool, StoreError> {
        Ok(suppressions::contains(&*self.read().await?, tenant, number).await?)
    }
}

#[async_trait]
impl Webhooks for PostgresStore {
    async fn add_webhook(&self, tenant: &TenantId, webhook: &Webhook) -> Result<bool, StoreError> {
        let what = Arc::new((tenant.clone(), webhook.clone()));
        self.write(move |session| {
            let what = Arc::clone(&what);
            async move { webhooks::add(&session, &what.0, &what.1).await }
        })
        .await
    }

    async fn webhooks(&self, tenant: &TenantId) -> Result<Vec<Webhook>, StoreError> {
        Ok(webhooks::of(&*self.read().await?, tenant).await?)
    }

    async fn remove_webhook(&self, tenant: &TenantId, id: &str) -> Result<bool, StoreError> {
        let what = Arc::new((tenant.clone(), id.to_owned()));
        self.write(move |session| {
            let what = Arc::clone(&what);
            async move { webhooks::remove(&session, &what.0, &what.1).await }
        })
        .await
    }
}
