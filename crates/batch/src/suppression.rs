use std::sync::Arc;

use dialtone_auth::{NumberKey, NumberKeys, Phone};
use dialtone_clock::Clock;
use dialtone_contract::wire::{OptOutResponse, SuppressResponse};
use dialtone_contract::{CallId, ErrorCode, TenantId};
use dialtone_store::{Store, StoreError, SuppressionRow};

use crate::CallError;
use crate::calls::{Calls, parts};

/// Source of numbers that a callee has taken off the list in a call; its id follows.
const OPT_OUT: &str = "opt_out:";

/// Numbers that may not be called. They are looked up at every claim; here they are added
/// and removed. What is kept of a number is its key.
pub struct SuppressionList {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    numbers: NumberKeys,
}

impl SuppressionList {
    /// The list in `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, numbers: NumberKeys) -> Self {
        Self { store, clock, numbers }
    }

    /// Adds numbers; one that is there already keeps its source.
    ///
    /// # Errors
    /// If the store fails; then none of them is sure to be there.
    pub async fn add(
        &self,
        tenant: &TenantId,
        numbers: &[Phone],
        source: &str,
    ) -> Result<SuppressResponse, StoreError> {
        let key = |number: &Phone| self.numbers.key(tenant.as_str(), number);
        let mut keys: Vec<_> = numbers.iter().map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        let added = self.store.suppress(tenant, &keys, source, self.clock.now()).await?;
        let known = u32::try_from(keys.len()).unwrap_or(u32::MAX).saturating_sub(added);
        Ok(SuppressResponse { added, known })
    }

    /// Removes a number; whether it was there.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn remove(&self, tenant: &TenantId, number: &Phone) -> Result<bool, StoreError> {
        self.remove_key(tenant, self.numbers.key(tenant.as_str(), number)).await
    }

    /// Removes a number by its key; whether it was there.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn remove_key(&self, tenant: &TenantId, key: NumberKey) -> Result<bool, StoreError> {
        self.store.unsuppress(tenant, key).await
    }

    /// Suppressed numbers after the key `after`, in the order of keys.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn page(
        &self,
        tenant: &TenantId,
        after: Option<NumberKey>,
        limit: u32,
    ) -> Result<Vec<SuppressionRow>, StoreError> {
        self.store.suppressions(tenant, after, limit).await
    }
}

impl Calls {
    /// The callee of this call wants no more calls: its number is suppressed for the
    /// tenant when this returns. Holds for any attempt whose dial was claimed, over or
    /// not.
    ///
    /// # Errors
    /// `not_claimed` if nobody can have been on the line, `not_found`.
    pub async fn opt_out(
        &self,
        tenant: &TenantId,
        call_id: &CallId,
    ) -> Result<OptOutResponse, CallError> {
        let (key, attempt) = parts(call_id)?;
        let found = self.store.call(tenant, &key, attempt).await?;
        let (entry, call) = found.ok_or(ErrorCode::NotFound)?;
        if call.claimed_at.is_none() {
            return Err(ErrorCode::NotClaimed.into());
        }
        let source = format!("{OPT_OUT}{call_id}");
        let now = self.clock.now();
        let added = self.store.suppress(tenant, &[entry.number], &source, now).await?;
        Ok(OptOutResponse { applied: added > 0, state: entry.state })
    }
}
