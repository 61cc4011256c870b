use std::sync::Arc;

use dialtone_contract::{ErrorCode, Problem, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::error::Failure;

/// The event streams that are open at once, and when they have to end.
pub struct Streams {
    places: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Streams {
    /// Streams that end when `shutdown` is cancelled: a stream must not hold up the end
    /// of its server, and resumes at the next one.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { places: Arc::new(Semaphore::new(limits::STREAMS_MAX)), shutdown }
    }

    /// A place for one stream, until it is dropped.
    pub(crate) fn open(&self) -> Result<Place, Failure> {
        let permit = Arc::clone(&self.places).try_acquire_owned();
        let permit = permit.map_err(|_| {
            let detail = format!("{} event streams are open already", limits::STREAMS_MAX);
            Problem::new(ErrorCode::Overloaded, detail)
        })?;
        Ok(Place { shutdown: self.shutdown.clone(), _permit: permit })
    }
}

/// A place among the open streams.
pub(crate) struct Place {
    /// Cancelled when the stream has to end.
    pub(crate) shutdown: CancellationToken,
    _permit: OwnedSemaphorePermit,
}
