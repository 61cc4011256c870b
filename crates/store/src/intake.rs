use async_trait::async_trait;
use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, FieldError, TenantId};

use crate::StoreError;

/// What intake keeps beside batches and entries.
#[async_trait]
pub trait IntakeStore: Send + Sync + 'static {
    /// Adds rows of a loading batch's upload that become no entries, and counts them. A
    /// row that is there already stays as it is.
    async fn add_rejects(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        rejects: &[FieldError],
    ) -> Result<(), StoreError>;

    /// Rows of the batch's upload that became no entries, after row `after`, in order.
    async fn rejects(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<FieldError>, StoreError>;

    /// Forgets all tenants' idempotency keys that were taken before `before`; gives their
    /// number.
    async fn forget_keys(&self, before: Timestamp) -> Result<u64, StoreError>;
}
