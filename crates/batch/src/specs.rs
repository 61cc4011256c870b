use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use dialtone_contract::BatchId;
use dialtone_store::{BatchSpec, EntryRow, Store, StoreError};

/// Specs kept at once; a spec is a few hundred bytes.
const KEPT_MAX: usize = 1024;

/// Specs of batches, read once: a spec never changes after the batch is created, so
/// this holds no truth that a row could contradict.
pub(crate) struct Specs {
    store: Arc<dyn Store>,
    kept: Mutex<HashMap<BatchId, Arc<BatchSpec>>>,
}

impl Specs {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, kept: Mutex::default() }
    }

    /// The spec of the batch that `entry` belongs to.
    pub(crate) async fn of(&self, entry: &EntryRow) -> Result<Arc<BatchSpec>, StoreError> {
        let batch = &entry.key.batch;
        if let Some(spec) = self.kept.lock().expect("no holder of the lock panics").get(batch) {
            return Ok(Arc::clone(spec));
        }
        let row = self.store.batch(&entry.tenant, batch).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt(format!("{batch} has entries only")))?;
        let spec = row.spec;
        let mut kept = self.kept.lock().expect("no holder of the lock panics");
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(batch.clone(), Arc::clone(&spec));
        Ok(spec)
    }
}
