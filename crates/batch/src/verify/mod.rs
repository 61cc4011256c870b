//! Recounting every invariant of a batch from its rows, page by page.

mod live;
mod recount;

use dialtone_contract::{BatchId, TenantId};
use dialtone_store::{BatchRow, Store, StoreError};
use serde::Serialize;

use crate::pages::{each_entry, each_event};

pub(crate) use recount::Recount;

/// One invariant of the pipeline, recounted from rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invariant {
    /// Its name.
    pub name: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// The first row that breaks it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// All invariants of one batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invariants {
    /// The batch.
    pub batch_id: BatchId,
    /// Its invariants.
    pub invariants: Vec<Invariant>,
}

impl Invariants {
    /// The invariants that do not hold.
    pub fn broken(&self) -> impl Iterator<Item = &Invariant> {
        self.invariants.iter().filter(|invariant| !invariant.holds)
    }
}

/// Times that the rows are read anew because the batch moved meanwhile.
const READS_MAX: u32 = 100;

/// Recounts every invariant of a batch from its rows; `None` if there is no such batch.
///
/// # Errors
/// If the store fails, or the batch never stands still for long enough to be read.
pub async fn verify(
    store: &dyn Store,
    tenant: &TenantId,
    batch: &BatchId,
) -> Result<Option<Invariants>, StoreError> {
    for _ in 0..READS_MAX {
        let Some(row) = store.batch(tenant, batch).await? else { return Ok(None) };
        let event_seq = row.event_seq;
        let invariants = recount(store, row).await?;
        // Rows of several moments contradict each other without any fault.
        let now = store.batch(tenant, batch).await?;
        if now.is_some_and(|now| now.event_seq == event_seq) {
            return Ok(Some(Invariants { batch_id: batch.clone(), invariants }));
        }
    }
    Err(StoreError::Unavailable(format!("{batch} never stood still; verify it when it has ended")))
}

async fn recount(store: &dyn Store, row: BatchRow) -> Result<Vec<Invariant>, StoreError> {
    let (tenant, batch) = (row.tenant.clone(), row.id.clone());
    let mut recount = Recount::new(row);
    each_entry(store, &tenant, &batch, |entry, calls| recount.entry(entry, calls)).await?;
    each_event(store, &tenant, &batch, |event| recount.event(event)).await?;
    if recount.looks_twice() {
        each_entry(store, &tenant, &batch, |entry, calls| recount.again(entry, calls)).await?;
    }
    let reports = store.reports(&tenant, &batch).await?.len();
    Ok(recount.finish(reports))
}
