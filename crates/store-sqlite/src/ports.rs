//! The smaller ports of the store: outbox, directory, suppressions, webhooks.

use async_trait::async_trait;
use dialtone_auth::NumberKey;
use dialtone_clock::Timestamp;
use dialtone_contract::TenantId;
use dialtone_store::{
    Directory, Lane, Outbox, OutboxRow, StoreError, SuppressionRow, Suppressions, Webhook, Webhooks,
};
use rusqlite::Connection;

use crate::SqliteStore;
use crate::sql::{counters, directory, outbox, suppressions, webhooks};
use crate::writer::Written;

#[async_trait]
impl Outbox for SqliteStore {
    async fn due_outbox(
        &self,
        lane: Lane,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        self.write(move |c| outbox::hand_out(c, lane, now, again_at, limit).map(Written::quietly))
            .await
    }

    async fn outbox_done(&self, ids: &[i64]) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        self.write(move |c| outbox::done(c, &ids).map(Written::quietly)).await
    }

    async fn outbox_later(&self, id: i64, at: Timestamp, tries: u32) -> Result<(), StoreError> {
        self.write(move |c| outbox::later(c, id, at, tries).map(Written::quietly)).await
    }
}

#[async_trait]
impl Directory for SqliteStore {
    async fn seed_demo(&self) -> Result<(), StoreError> {
        let demo = TenantId::new("demo");
        self.write(move |c| directory::seed(c, &demo, 1, "demo").map(Written::quietly)).await
    }

    async fn has_voice(&self, tenant: &TenantId, voice: &str) -> Result<bool, StoreError> {
        let (tenant, voice) = (tenant.clone(), voice.to_owned());
        self.read_one(move |c| directory::has_voice(c, &tenant, &voice)).await
    }

    async fn has_user(&self, tenant: &TenantId, user: i64) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        self.read_one(move |c| directory::has_user(c, &tenant, user)).await
    }

    async fn in_flight(&self, tenant: &TenantId) -> Result<u32, StoreError> {
        let tenant = tenant.clone();
        self.read_few(move |c| counters::in_flight_of_tenant(c, &tenant)).await
    }

    async fn max_concurrent(&self, tenant: &TenantId) -> Result<Option<u32>, StoreError> {
        let tenant = tenant.clone();
        self.read_one(move |c| directory::max_concurrent(c, &tenant)).await
    }

    async fn set_max_concurrent(
        &self,
        tenant: &TenantId,
        max: Option<u32>,
    ) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        self.write(move |c| {
            let answer = directory::set_max_concurrent(c, &tenant, max)?;
            Ok(Written { answer, made_work: answer })
        })
        .await
    }
}

#[async_trait]
impl Suppressions for SqliteStore {
    async fn suppress(
        &self,
        tenant: &TenantId,
        numbers: &[NumberKey],
        source: &str,
        at: Timestamp,
    ) -> Result<u32, StoreError> {
        let (tenant, numbers, source) = (tenant.clone(), numbers.to_vec(), source.to_owned());
        let add = move |c: &Connection| suppressions::add(c, &tenant, &numbers, &source, at);
        self.write(move |c| add(c).map(Written::quietly)).await
    }

    async fn unsuppress(&self, tenant: &TenantId, number: NumberKey) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        self.write(move |c| suppressions::remove(c, &tenant, number).map(Written::quietly)).await
    }

    async fn suppressions(
        &self,
        tenant: &TenantId,
        after: Option<NumberKey>,
        limit: u32,
    ) -> Result<Vec<SuppressionRow>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |c| suppressions::page(c, &tenant, after, limit)).await
    }

    async fn is_suppressed(
        &self,
        tenant: &TenantId,
        number: NumberKey,
    ) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        self.read_one(move |c| suppressions::contains(c, &tenant, number)).await
    }
}

#[async_trait]
impl Webhooks for SqliteStore {
    async fn add_webhook(&self, tenant: &TenantId, webhook: &Webhook) -> Result<bool, StoreError> {
        let (tenant, webhook) = (tenant.clone(), webhook.clone());
        self.write(move |c| webhooks::add(c, &tenant, &webhook).map(Written::quietly)).await
    }

    async fn webhooks(&self, tenant: &TenantId) -> Result<Vec<Webhook>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |c| webhooks::of(c, &tenant)).await
    }

    async fn remove_webhook(&self, tenant: &TenantId, id: &str) -> Result<bool, StoreError> {
        let (tenant, id) = (tenant.clone(), id.to_owned());
        self.write(move |c| webhooks::remove(c, &tenant, &id).map(Written::quietly)).await
    }
}
