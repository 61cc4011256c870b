//! Tenants and API keys in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use dialtone_clock::Timestamp;
use dialtone_contract::TenantId;

use crate::{Access, ApiKeyRow, NewApiKey, StoreError};

/// Tenants and API keys in memory, for tests.
#[derive(Default)]
pub struct MemoryAccess(Mutex<State>);

#[derive(Default)]
struct State {
    tenants: BTreeMap<TenantId, Tenant>,
    keys: Vec<ApiKeyRow>,
}

#[derive(Default)]
struct Tenant {
    voices: Vec<String>,
    users: Vec<i64>,
}

impl MemoryAccess {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of the lock panics")
    }
}

/// Adds `item` where there is a list without it.
fn add<T: PartialEq>(list: Option<&mut Vec<T>>, item: T) -> bool {
    let Some(list) = list.filter(|list| !list.contains(&item)) else { return false };
    list.push(item);
    true
}

#[async_trait]
impl Access for MemoryAccess {
    async fn add_tenant(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let mut state = self.state();
        let new = !state.tenants.contains_key(tenant);
        state.tenants.entry(tenant.clone()).or_default();
        Ok(new)
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        Ok(self.state().tenants.keys().cloned().collect())
    }

    async fn add_voice(&self, tenant: &TenantId, voice: &str) -> Result<bool, StoreError> {
        let mut state = self.state();
        Ok(add(state.tenants.get_mut(tenant).map(|of| &mut of.voices), voice.to_owned()))
    }

    async fn add_user(&self, tenant: &TenantId, user: i64) -> Result<bool, StoreError> {
        let mut state = self.state();
        Ok(add(state.tenants.get_mut(tenant).map(|of| &mut of.users), user))
    }

    async fn add_api_key(&self, tenant: &TenantId, key: NewApiKey) -> Result<bool, StoreError> {
        let mut state = self.state();
        let taken = state.keys.iter().any(|known| known.id == key.id);
        if taken || !state.tenants.contains_key(tenant) {
            return Ok(false);
        }
        let NewApiKey { id, name, hash, at } = key;
        let tenant = tenant.clone();
        state.keys.push(ApiKeyRow { tenant, id, name, hash, created_at: at, revoked_at: None });
        Ok(true)
    }

    async fn api_keys(&self, tenant: &TenantId) -> Result<Vec<ApiKeyRow>, StoreError> {
        let state = self.state();
        let mut keys: Vec<_> =
            state.keys.iter().filter(|key| key.tenant == *tenant).cloned().collect();
        keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(keys)
    }

    async fn revoke_api_key(
        &self,
        tenant: &TenantId,
        id: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut state = self.state();
        let mut keys = state.keys.iter_mut();
        let found = keys.find(|key| key.tenant == *tenant && key.id == id);
        let Some(key) = found.filter(|key| key.revoked_at.is_none()) else { return Ok(false) };
        key.revoked_at = Some(at);
        Ok(true)
    }

    async fn api_key(&self, id: &str) -> Result<Option<ApiKeyRow>, StoreError> {
        Ok(self.state().keys.iter().find(|key| key.id == id).cloned())
    }

    async fn has_api_keys(&self) -> Result<bool, StoreError> {
        Ok(!self.state().keys.is_empty())
    }
}
