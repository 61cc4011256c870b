//! What batches say of a LiveKit that takes no dispatches: in their status, by an event, and
//! so in their reports.

use dialtone_contract::{BatchState, limits};
use dialtone_store::{BatchRow, Change, StoreError};

use super::Dispatcher;
use crate::breaker::NO_DISPATCHES;

impl Dispatcher {
    /// Says of a running batch that LiveKit takes no dispatches, or no longer that it takes
    /// none; gives the number of steps taken.
    pub(super) async fn note_livekit(&self, batch: &BatchRow) -> Result<usize, StoreError> {
        if batch.state != BatchState::Running {
            return Ok(0);
        }
        let why = self.trouble.borrow().livekit.clone();
        let noted = batch.reason.as_deref().map(|said| said.starts_with(NO_DISPATCHES));
        let reason = match (why, noted) {
            // Once for each time: another dispatcher, whom LiveKit serves, may have taken it
            // back meanwhile.
            (Some(why), None) if self.memory().note_outage(&batch.id) => {
                let n = limits::BREAKER_FAILURES;
                Some(format!(
                    "{NO_DISPATCHES}{n} dispatches in a row were not taken; the last: {why}"
                ))
            }
            // After a restart nothing is known before the first dispatch.
            (None, Some(true)) if self.breaker.taken() => None,
            _ => return Ok(0),
        };
        let mut change = self.move_batch(batch, batch.state, reason);
        if let Change::Batch(change) = &mut change {
            // What a user has ordered meanwhile stands.
            change.unmoved_since = Some(batch.event_seq);
        }
        let applied = self.store.apply(&[change]).await?;
        Ok(applied.iter().filter(|applied| applied.is_applied()).count())
    }
}
