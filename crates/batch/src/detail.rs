//! Gathering what is known of one entry.

use dialtone_clock::Timestamp;
use dialtone_contract::wire::EntryDetail;
use dialtone_contract::{EntryKey, TenantId, limits};
use dialtone_store::{BatchMode, BatchRow, EntryRow, EventRow, NumberUse, Store, StoreError};

use crate::dispatcher::CLAIMABLE;
use crate::explain::{Around, Facts, explain};
use crate::policy::schedule;
use crate::status::entry_view;

/// How an entry is looked at.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Whether its number is shown.
    pub reveal: bool,
    /// Why LiveKit takes no dispatches, as far as this process knows.
    pub livekit: Option<String>,
    /// The moment, in product time.
    pub now: Timestamp,
}

/// An entry with its attempts and why it stands where it stands; `None` if the tenant
/// has no such entry.
///
/// # Errors
/// If the store fails.
pub async fn entry_detail(
    store: &dyn Store,
    tenant: &TenantId,
    key: &EntryKey,
    look: &Look,
) -> Result<Option<EntryDetail>, StoreError> {
    // The entry first: what is known of its batch is then never older.
    let page = store.entries(tenant, &key.batch, key.seq.saturating_sub(1), 1).await?;
    let found = page.into_iter().find(|(entry, _)| entry.key == *key);
    let (Some((entry, calls)), Some(batch)) = (found, store.batch(tenant, &key.batch).await?)
    else {
        return Ok(None);
    };
    let last_event = last_event(store, &batch, &entry).await?;
    // A reader's clock may be behind the clock that wrote the rows.
    let now = last_event.as_ref().map_or(look.now, |event| event.at.max(look.now));
    let mut around = around(store, &batch, &entry, look, now).await?;
    let is_due = entry.not_before.is_some_and(|at| at <= now);
    if is_due && around.number.is_none() && CLAIMABLE.contains(&batch.state) {
        around.others_due = others_due(store, &batch, now).await?;
    }
    let facts = Facts {
        batch: &batch,
        entry: &entry,
        calls: &calls,
        last_event: last_event.as_ref(),
        around: &around,
        now,
    };
    let explain = explain(&facts);
    Ok(Some(EntryDetail { entry: entry_view(&entry, &calls, look.reveal), explain }))
}

async fn around(
    store: &dyn Store,
    batch: &BatchRow,
    entry: &EntryRow,
    look: &Look,
    now: Timestamp,
) -> Result<Around, StoreError> {
    let mut around = Around { livekit: look.livekit.clone(), ..Around::default() };
    if entry.state.is_waiting() {
        around.suppressed = store.is_suppressed(&batch.tenant, entry.number).await?;
        let opens = schedule::earliest(&batch.spec.options, entry.timezone.as_deref(), now);
        around.window_opens = Some(opens).filter(|opens| *opens > now);
        if batch.spec.mode == BatchMode::Live {
            around.number = number(store, entry, now).await?;
        }
        if let Some(most) = store.max_concurrent(&batch.tenant).await? {
            around.tenant_calls = Some((store.in_flight(&batch.tenant).await?, most));
        }
    }
    Ok(around)
}

/// Why the number of a waiting entry may not be called now, and until when.
async fn number(
    store: &dyn Store,
    entry: &EntryRow,
    now: Timestamp,
) -> Result<Option<(String, Option<Timestamp>)>, StoreError> {
    Ok(match store.number_use(&entry.tenant, entry.number).await? {
        Some(NumberUse::By(holder)) => {
            let holder = holder.entry_id();
            Some((format!("another live call to this number is under way: {holder}"), None))
        }
        Some(NumberUse::FreeAt(at)) if at > now => {
            Some(("this number was called a short time ago".to_owned(), Some(at)))
        }
        _ => None,
    })
}

/// Other batches with calls due: of the tenant, and of other tenants.
async fn others_due(
    store: &dyn Store,
    batch: &BatchRow,
    now: Timestamp,
) -> Result<(u32, u32), StoreError> {
    let due = store.due_batches(CLAIMABLE, now, None, limits::BATCHES_MAX).await?;
    let others = due.iter().filter(|other| other.id != batch.id);
    Ok(others.fold((0, 0), |(own, others), other| {
        if other.tenant == batch.tenant { (own + 1, others) } else { (own, others + 1) }
    }))
}

/// The entry's last event, looked for from the end of its batch's backwards; `None` if
/// it has none, or none among the last ones.
async fn last_event(
    store: &dyn Store,
    batch: &BatchRow,
    entry: &EntryRow,
) -> Result<Option<EventRow>, StoreError> {
    let mut until = batch.event_seq;
    for _ in 0..limits::EVENTS_SCANS_MAX {
        let after = until.saturating_sub(limits::EVENTS_SCAN_MAX);
        let events = store.entry_events(&batch.tenant, &entry.key, after, until).await?;
        if let Some(last) = events.into_iter().next_back() {
            return Ok(Some(last));
        }
        if after == 0 {
            break;
        }
        until = after;
    }
    Ok(None)
}
