//! What intake keeps beside batches and entries.

use std::sync::Arc;

use async_trait::async_trait;
use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, BatchState, FieldError, TenantId};
use dialtone_store::{IntakeStore, StoreError};

use crate::PostgresStore;
use crate::sql::{batches, idempotency, rejects};
use crate::store::in_transaction;

#[async_trait]
impl IntakeStore for PostgresStore {
    async fn add_rejects(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        new: &[FieldError],
    ) -> Result<(), StoreError> {
        let what = Arc::new((tenant.clone(), batch.clone(), new.to_vec()));
        self.write(move |session| {
            let what = Arc::clone(&what);
            async move {
                let (tenant, batch, new) = &*what;
                in_transaction(&session, async {
                    if batches::hold(&session, tenant, batch).await? == Some(BatchState::Loading) {
                        rejects::add(&session, tenant, batch, new).await?;
                    }
                    Ok(())
                })
                .await
            }
        })
        .await
    }

    async fn rejects(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<FieldError>, StoreError> {
        Ok(rejects::page(&*self.read().await?, tenant, batch, after, limit).await?)
    }

    async fn forget_keys(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.write(move |session| async move { idempotency::forget(&session, before).await }).await
    }
}
