//! Reading all rows of a batch without holding them.

use dialtone_contract::{BatchId, TenantId, limits};
use dialtone_store::{CallRow, EntryRow, EventRow, Store, StoreError};

/// Shows each entry of a batch with its attempts, by place.
pub(crate) async fn each_entry(
    store: &dyn Store,
    tenant: &TenantId,
    batch: &BatchId,
    mut show: impl FnMut(&EntryRow, &[CallRow]) + Send,
) -> Result<(), StoreError> {
    let mut after = 0;
    loop {
        let page = store.entries(tenant, batch, after, limits::PAGE_MAX).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = last.key.seq;
        page.iter().for_each(|(entry, calls)| show(entry, calls));
    }
}

/// Shows each event of a batch, in order.
pub(crate) async fn each_event(
    store: &dyn Store,
    tenant: &TenantId,
    batch: &BatchId,
    mut show: impl FnMut(&EventRow) + Send,
) -> Result<(), StoreError> {
    let mut after = 0;
    loop {
        let page = store.events(tenant, batch, after, limits::PAGE_MAX).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.event_seq;
        page.iter().for_each(&mut show);
    }
}
