//! The memory engine's smaller ports.

use async_trait::async_trait;
use dialtone_auth::NumberKey;
use dialtone_clock::Timestamp;
use dialtone_contract::TenantId;

use super::MemoryStore;
use crate::{
    Directory, Lane, Outbox, OutboxRow, StoreError, SuppressionRow, Suppressions, Webhook, Webhooks,
};

#[async_trait]
impl Outbox for MemoryStore {
    async fn due_outbox(
        &self,
        lane: Lane,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let mut state = self.read();
        let due = state.outbox.values_mut();
        let mut due: Vec<_> =
            due.filter(|(at, row)| *at <= now && row.item.lane() == lane).collect();
        due.sort_by_key(|(at, row)| (*at, row.id));
        due.truncate(limit as usize);
        let hand_out = |(at, row): &mut (Timestamp, OutboxRow)| {
            *at = again_at;
            row.tries += 1;
            row.clone()
        };
        Ok(due.into_iter().map(hand_out).collect())
    }

    async fn outbox_done(&self, ids: &[i64]) -> Result<(), StoreError> {
        let mut state = self.read();
        for id in ids {
            state.outbox.remove(id);
        }
        Ok(())
    }

    async fn outbox_later(&self, id: i64, at: Timestamp, tries: u32) -> Result<(), StoreError> {
        if let Some((due_at, row)) = self.read().outbox.get_mut(&id) {
            *due_at = at;
            row.tries = tries;
        }
        Ok(())
    }
}

#[async_trait]
impl Directory for MemoryStore {
    async fn seed_demo(&self) -> Result<(), StoreError> {
        self.write(|state| {
            let demo = TenantId::new("demo");
            state.voices = vec![(demo.clone(), "demo".to_owned())];
            state.users = vec![(demo, 1)];
        });
        Ok(())
    }

    async fn has_voice(&self, tenant: &TenantId, voice: &str) -> Result<bool, StoreError> {
        Ok(self.read().voices.iter().any(|(t, v)| t == tenant && v == voice))
    }

    async fn has_user(&self, tenant: &TenantId, user: i64) -> Result<bool, StoreError> {
        Ok(self.read().users.contains(&(tenant.clone(), user)))
    }

    async fn in_flight(&self, tenant: &TenantId) -> Result<u32, StoreError> {
        Ok(self.read().in_flight(tenant))
    }

    async fn max_concurrent(&self, tenant: &TenantId) -> Result<Option<u32>, StoreError> {
        Ok(self.read().tenant_limits.get(tenant).copied())
    }

    async fn set_max_concurrent(
        &self,
        tenant: &TenantId,
        max: Option<u32>,
    ) -> Result<bool, StoreError> {
        Ok(self.write(|state| {
            let known = state.users.iter().any(|(owner, _)| owner == tenant);
            match max.filter(|_| known) {
                Some(max) => state.tenant_limits.insert(tenant.clone(), max),
                None => state.tenant_limits.remove(tenant),
            };
            known
        }))
    }
}

#[async_trait]
impl Suppressions for MemoryStore {
    async fn suppress(
        &self,
        tenant: &TenantId,
        numbers: &[NumberKey],
        source: &str,
        at: Timestamp,
    ) -> Result<u32, StoreError> {
        Ok(self.write(|state| {
            let before = state.suppressed.len();
            for number in numbers {
                let key = (tenant.clone(), *number);
                let source = source.to_owned();
                let row = SuppressionRow { number: *number, source, created_at: at };
                state.suppressed.entry(key).or_insert(row);
            }
            u32::try_from(state.suppressed.len() - before).unwrap_or(u32::MAX)
        }))
    }

    async fn unsuppress(&self, tenant: &TenantId, number: NumberKey) -> Result<bool, StoreError> {
        Ok(self.write(|state| state.suppressed.remove(&(tenant.clone(), number)).is_some()))
    }

    async fn suppressions(
        &self,
        tenant: &TenantId,
        after: Option<NumberKey>,
        limit: u32,
    ) -> Result<Vec<SuppressionRow>, StoreError> {
        let state = self.read();
        let own = state.suppressed.iter().filter(|((owner, _), _)| owner == tenant);
        let later = own.map(|(_, row)| row).filter(|row| after.is_none_or(|key| row.number > key));
        Ok(later.take(limit as usize).cloned().collect())
    }

    async fn is_suppressed(
        &self,
        tenant: &TenantId,
        number: NumberKey,
    ) -> Result<bool, StoreError> {
        Ok(self.read().suppressed.contains_key(&(tenant.clone(), number)))
    }
}

#[async_trait]
impl Webhooks for MemoryStore {
    async fn add_webhook(&self, tenant: &TenantId, webhook: &Webhook) -> Result<bool, StoreError> {
        Ok(self.write(|state| {
            let known = state.users.iter().any(|(owner, _)| owner == tenant);
            if known {
                let key = (tenant.clone(), webhook.id.clone());
                state.webhooks.insert(key, webhook.clone());
            }
            known
        }))
    }

    async fn webhooks(&self, tenant: &TenantId) -> Result<Vec<Webhook>, StoreError> {
        let state = self.read();
        let own = state.webhooks.iter().filter(|((owner, _), _)| owner == tenant);
        Ok(own.map(|(_, webhook)| webhook.clone()).collect())
    }

    async fn remove_webhook(&self, tenant: &TenantId, id: &str) -> Result<bool, StoreError> {
        let key = (tenant.clone(), id.to_owned());
        Ok(self.write(|state| state.webhooks.remove(&key).is_some()))
    }
}
