use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use dialtone_contract::{ErrorCode, Problem, TenantId, limits};
use tokio_util::sync::CancellationToken;

use crate::error::Failure;

/// The event streams that are open at once, and when they have to end.
///
/// A tenant may hold as many places as it leaves free. So one alone has half of all, a second
/// one half of the rest, and there is room for a further one while any place is left.
pub struct Streams {
    held: Arc<Mutex<Held>>,
    shutdown: CancellationToken,
}

/// Places that are taken, of all and of each tenant; nobody with none is kept.
#[derive(Debug, Default)]
struct Held {
    all: usize,
    by_tenant: HashMap<TenantId, usize>,
}

impl Held {
    /// Takes a place, or says why not.
    fn take(&mut self, tenant: &TenantId) -> Result<(), (ErrorCode, String)> {
        let own = self.by_tenant.get(tenant).copied().unwrap_or_default();
        let free = limits::STREAMS_MAX.saturating_sub(self.all);
        if free == 0 {
            let detail = format!("all {} places for event streams are taken", limits::STREAMS_MAX);
            return Err((ErrorCode::Overloaded, detail));
        }
        if own >= free {
            let detail = format!(
                "{own} event streams of this tenant are open, and {free} places are left for all \
                 others"
            );
            return Err((ErrorCode::TooManyStreams, detail));
        }
        self.all += 1;
        *self.by_tenant.entry(tenant.clone()).or_default() += 1;
        Ok(())
    }

    fn give_back(&mut self, tenant: &TenantId) {
        self.all = self.all.saturating_sub(1);
        if let Some(own) = self.by_tenant.get_mut(tenant) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                self.by_tenant.remove(tenant);
            }
        }
    }
}

impl Streams {
    /// Streams that end when `shutdown` is cancelled: a stream must not hold up the end
    /// of its server, and resumes at the next one.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { held: Arc::default(), shutdown }
    }

    /// A place for one stream of the tenant, until it is dropped.
    pub(crate) fn open(&self, tenant: &TenantId) -> Result<Place, Failure> {
        let taken = lock(&self.held).take(tenant);
        taken.map_err(|(code, detail)| Problem::new(code, detail))?;
        let (held, tenant) = (Arc::clone(&self.held), tenant.clone());
        Ok(Place { shutdown: self.shutdown.clone(), held, tenant })
    }
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().expect("no holder of the lock panics")
}

/// A place among the open streams.
pub(crate) struct Place {
    /// Cancelled when the stream has to end.
    pub(crate) shutdown: CancellationToken,
    held: Arc<Mutex<Held>>,
    tenant: TenantId,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.held).give_back(&self.tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens streams of the tenant until it is refused; the last answer is why.
    fn fill(held: &mut Held, tenant: &str) -> (usize, ErrorCode) {
        let tenant = TenantId::new(tenant);
        let mut n = 0;
        loop {
            match held.take(&tenant) {
                Ok(()) => n += 1,
                Err((code, _)) => return (n, code),
            }
        }
    }

    #[test]
    fn nobody_takes_every_place_and_what_is_given_back_can_be_taken() {
        let mut held = Held::default();
        let half = limits::STREAMS_MAX / 2;
        assert_eq!(fill(&mut held, "greedy"), (half, ErrorCode::TooManyStreams));
        assert_eq!(fill(&mut held, "second"), (half / 2, ErrorCode::TooManyStreams));
        assert_eq!(fill(&mut held, "third"), (half / 4, ErrorCode::TooManyStreams));
        assert_eq!(fill(&mut held, "greedy").0, 0, "who has most gets no more");
        for n in 0.. {
            let (got, why) = fill(&mut held, &format!("small-{n}"));
            if why == ErrorCode::Overloaded {
                assert_eq!((held.all, got), (limits::STREAMS_MAX, 1));
                break;
            }
            assert!(got > 0, "a place is left, and {n} gets none");
        }
        let greedy = TenantId::new("greedy");
        for _ in 0..half {
            held.give_back(&greedy);
        }
        assert!(!held.by_tenant.contains_key(&greedy));
        assert_eq!(fill(&mut held, "late"), (half / 2, ErrorCode::TooManyStreams));
    }
}
