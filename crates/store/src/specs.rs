//! Specs that have been read before: whoever looks at all batches again and again does not
//! parse them again and again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::BatchSpec;
use dialtone_contract::BatchId;

/// Specs kept at once; a spec is a few hundred bytes, and kept as its text too.
const KEPT_MAX: usize = 4_096;

/// A spec with the text that it was read from: it is taken again for the same text alone.
type Kept = (Box<str>, Arc<BatchSpec>);

/// Specs that an engine has read before, by batch.
#[derive(Default)]
pub struct Specs(Mutex<HashMap<BatchId, Kept>>);

impl Specs {
    /// The spec of `batch`, whose row says `text`.
    ///
    /// # Errors
    /// If the text is no spec.
    pub fn of(&self, batch: &BatchId, text: &str) -> serde_json::Result<Arc<BatchSpec>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, spec)) = kept.get(batch).filter(|(known, _)| **known == *text) {
            return Ok(Arc::clone(spec));
        }
        let spec: Arc<BatchSpec> = Arc::new(serde_json::from_str(text)?);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(batch.clone(), (text.into(), Arc::clone(&spec)));
        Ok(spec)
    }
}
