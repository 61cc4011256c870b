//! What intake keeps beside batches and entries.

use async_trait::async_trait;
use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, BatchState, FieldError, TenantId};
use dialtone_store::{IntakeStore, StoreError};

use crate::SqliteStore;
use crate::sql::{batches, idempotency, rejects};
use crate::writer::Written;

#[async_trait]
impl IntakeStore for SqliteStore {
    async fn add_rejects(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        new: &[FieldError],
    ) -> Result<(), StoreError> {
        let (tenant, batch, new) = (tenant.clone(), batch.clone(), new.to_vec());
        self.write(move |c| {
            if batches::state(c, &tenant, &batch)? == Some(BatchState::Loading) {
                rejects::add(c, &tenant, &batch, &new)?;
            }
            Ok(Written::quietly(()))
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
        let (tenant, batch) = (tenant.clone(), batch.clone());
        self.read(move |c| rejects::page(c, &tenant, &batch, after, limit)).await
    }

    async fn forget_keys(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.write(move |c| idempotency::forget(c, before).map(Written::quietly)).await
    }
}
