use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Who is in which slot.
#[derive(Clone)]
pub struct Slots(Arc<Shared>);

struct Shared {
    free: Arc<Semaphore>,
    taken: Mutex<Vec<Option<String>>>,
}

/// A slot that is held. Dropping it frees it.
pub struct Seat {
    slots: Slots,
    n: usize,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    pub fn new(n: usize) -> Self {
        let (free, taken) = (Arc::new(Semaphore::new(n)), Mutex::new(vec![None; n]));
        Self(Arc::new(Shared { free, taken }))
    }

    /// Waits for a slot.
    pub async fn take(&self, request: &str) -> Seat {
        let free = Arc::clone(&self.0.free);
        let permit = free.acquire_owned().await.expect("never closed");
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let n = taken.iter().position(Option::is_none).expect("a permit is a slot");
        taken[n] = Some(request.to_owned());
        drop(taken);
        Seat { slots: self.clone(), n, _permit: permit }
    }

    pub fn busy(&self) -> usize {
        let taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.iter().flatten().count()
    }

    pub fn told(&self) -> Value {
        let taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = |(n, request): (usize, &Option<String>)| {
            let state = if request.is_some() { "decode" } else { "idle" };
            json!({ "id": n, "state": state, "request": request })
        };
        taken.iter().enumerate().map(slot).collect()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.slots.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken[self.n] = None;
    }
}
