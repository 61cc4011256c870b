use async_trait::async_trait;
use dialtone_clock::Timestamp;
use dialtone_contract::{BatchId, BatchState, FieldError, TenantId};

use super::MemoryStore;
use crate::{IntakeStore, StoreError};

#[async_trait]
impl IntakeStore for MemoryStore {
    async fn add_rejects(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        rejects: &[FieldError],
    ) -> Result<(), StoreError> {
        self.write(|state| {
            let Some(found) = state.batch_mut(tenant, batch) else { return };
            if found.row.state != BatchState::Loading {
                return;
            }
            for reject in rejects {
                let row = reject.row.unwrap_or_default();
                found.rejects.entry(row).or_insert_with(|| reject.clone());
            }
            found.row.rejected = u32::try_from(found.rejects.len()).unwrap_or(u32::MAX);
        });
        Ok(())
    }

    async fn rejects(
        &self,
        tenant: &TenantId,
        batch: &BatchId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<FieldError>, StoreError> {
        let state = self.read();
        let Some(found) = state.batch(tenant, batch) else { return Ok(Vec::new()) };
        let later = found.rejects.range(after.saturating_add(1)..).map(|(_, reject)| reject);
        Ok(later.take(limit as usize).cloned().collect())
    }

    async fn forget_keys(&self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(self.write(|state| {
            let all = state.keys.len();
            // The platform's own keys begin with a control character, and stay.
            state.keys.retain(|(_, name), key| key.at >= before || name.as_str() < " ");
            (all - state.keys.len()) as u64
        }))
    }
}
