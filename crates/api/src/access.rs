//! Whose a request is: API keys, from the store and from the operator's file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use dialtone_auth::KeyHash;
use dialtone_auth::api_key::key_id;
use dialtone_contract::{ErrorCode, TenantId};
use dialtone_store::StoreError;

use crate::error::Failure;
use crate::tenant::bearer;

/// Knows keys. As soon as there has been any, every request of a tenant needs one: that a
/// last key is revoked opens nothing.
pub struct Access {
    store: Arc<dyn dialtone_store::Access>,
    file: Vec<(TenantId, KeyHash)>,
    needed: AtomicBool,
}

impl Access {
    /// Over the keys of the store and those of `file`.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn new(
        store: Arc<dyn dialtone_store::Access>,
        file: Vec<(TenantId, KeyHash)>,
    ) -> Result<Self, StoreError> {
        let needed = AtomicBool::new(!file.is_empty());
        let access = Self { store, file, needed };
        access.needs_key().await?;
        Ok(access)
    }

    /// Whether requests need a key.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn needs_key(&self) -> Result<bool, StoreError> {
        // A key that is added while the server runs holds from the next request on.
        if !self.needed.load(Ordering::Relaxed) && self.store.has_api_keys().await? {
            self.needed.store(true, Ordering::Relaxed);
        }
        Ok(self.needed.load(Ordering::Relaxed))
    }

    /// The tenant of a request. Without any keys the server listens on loopback only, and
    /// everything belongs to tenant `demo`.
    pub(crate) async fn tenant(&self, headers: &HeaderMap) -> Result<TenantId, Failure> {
        if !self.needs_key().await? {
            return Ok(TenantId::new("demo"));
        }
        let key = bearer(headers).ok_or(ErrorCode::Unauthorized)?;
        let hash = KeyHash::of(key);
        // No early end: how long it takes tells nothing of the keys.
        let of_file =
            self.file.iter().fold(
                None,
                |found, (tenant, known)| {
                    if known.same_as(&hash) { Some(tenant) } else { found }
                },
            );
        if let Some(tenant) = of_file {
            return Ok(tenant.clone());
        }
        let id = key_id(key).ok_or(ErrorCode::Unauthorized)?;
        let row = self.store.api_key(id).await?;
        let good = row.filter(|row| row.revoked_at.is_none() && row.hash.same_as(&hash));
        Ok(good.ok_or(ErrorCode::Unauthorized)?.tenant)
    }
}

/// `router`, which tells of all tenants together at `path`, with a key where keys are
/// needed.
pub fn guarded(router: Router, path: &'static str, access: Arc<Access>) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| {
        let access = Arc::clone(&access);
        async move {
            if request.uri().path() != path {
                return next.run(request).await;
            }
            match access.tenant(request.headers()).await {
                Ok(_) => next.run(request).await,
                Err(failure) => failure.into_response(),
            }
        }
    }))
}
