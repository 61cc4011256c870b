//! Sends dispatches to LiveKit and records what came of them.

use std::time::Instant;

use dialtone_contract::{DispatchMetadata, LIVE_WORKER_NAME, TEST_WORKER_NAME, TestPlan, limits};
use dialtone_livekit::{LiveKitError, NewDispatch};
use dialtone_store::{Applied, BatchMode, BatchSpec, CallRow, Change, EntryRow, StoreError};

use super::Dispatcher;
use crate::Happening;
use crate::calls::cut;

impl Dispatcher {
    /// Sends one leased entry's dispatch to LiveKit, and gives what is to be recorded.
    /// `since` is the wall time of the claim's commit.
    pub async fn send(&self, spec: &BatchSpec, entry: &EntryRow, since: Instant) -> Happening {
        // One that waited for its turn, as the last of a large wave may.
        if entry.deadline.is_some_and(|deadline| deadline <= self.clock.now()) {
            return Happening::LeaseReturned;
        }
        let (new, asked) = (self.new_dispatch(spec, entry), Instant::now());
        let answer = self.livekit.dispatch(&new).await;
        self.flow.took(asked.elapsed());
        self.metrics.dispatched(since.elapsed());
        match answer {
            Ok(dispatch_id) => {
                if self.breaker.succeeded() {
                    tracing::info!("LiveKit takes dispatches again");
                    self.trouble.send_modify(|trouble| trouble.livekit = None);
                }
                Happening::DispatchAccepted { dispatch_id }
            }
            Err(error) => {
                self.metrics.dispatch_failed();
                if self.breaker.failed(self.clock.now()) {
                    tracing::warn!(%error, "LiveKit takes no dispatches; trying one at a time");
                    self.trouble.send_modify(|trouble| trouble.livekit = Some(error.to_string()));
                }
                tracing::debug!(%error, entry.id = %entry.key.entry_id(), "dispatch failed");
                match error {
                    // Nothing that carries the attempt has left.
                    LiveKitError::NotSent(_) => Happening::LeaseReturned,
                    _ => Happening::DispatchFailed { reason: cut(error.to_string()) },
                }
            }
        }
    }

    /// Records what happened to a lease that this dispatcher holds. If an agent's claim has
    /// outrun LiveKit's answer, the dispatch is only noted in the call log.
    ///
    /// # Errors
    /// If the store fails; the lease's deadline picks the entry up.
    pub async fn record(
        &self,
        spec: &BatchSpec,
        entry: &EntryRow,
        happening: Happening,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let call = CallRow::leased(entry.attempt, now);
        if self.settle(spec, entry, &call, happening.clone()).await? {
            return Ok(());
        }
        if !matches!(happening, Happening::DispatchAccepted { .. }) {
            return Ok(());
        }
        let found = self.store.call(&entry.tenant, &entry.key, entry.attempt).await?;
        match found.filter(|(now, _)| now.attempt == entry.attempt && now.state.is_in_flight()) {
            Some((now, call)) if now.state.is_live() => {
                // A heartbeat in between makes this stale; the note is not worth another try.
                self.settle(spec, &now, &call, happening).await?;
            }
            // The same attempt, given back and begun again by another dispatcher.
            Some(_) => {}
            None => self.close_again(entry).await,
        }
        Ok(())
    }

    /// Closes the room of an attempt that ended while its dispatch was on the way: the room
    /// that was closed then has been made since. If this fails, LiveKit closes it as an
    /// empty one.
    async fn close_again(&self, entry: &EntryRow) {
        let room = entry.key.call_id(entry.attempt).to_string();
        if let Err(error) = self.livekit.delete_room(&room).await {
            tracing::debug!(%error, room, "the room of an ended attempt was not closed");
        }
    }

    /// Decides and applies under this dispatcher's lease; whether it was applied.
    async fn settle(
        &self,
        spec: &BatchSpec,
        entry: &EntryRow,
        call: &CallRow,
        happening: Happening,
    ) -> Result<bool, StoreError> {
        let decided = self.rules.decide(spec, entry, call, happening, self.clock.now());
        let Ok(mut change) = decided else { return Ok(false) };
        change.lease_epoch = Some(self.epoch);
        let applied = self.store.apply(&[Change::Entry(change)]).await?;
        Ok(applied.first().is_some_and(Applied::is_applied))
    }

    fn new_dispatch(&self, spec: &BatchSpec, entry: &EntryRow) -> NewDispatch {
        let call_id = entry.key.call_id(entry.attempt);
        let test = spec.mode == BatchMode::Test;
        let capability = self.options.capabilities.mint(entry.tenant.as_str(), call_id.as_str());
        let metadata = DispatchMetadata {
            entry_id: entry.key.entry_id(),
            attempt: entry.attempt,
            api_url: self.options.api_url.clone(),
            capability: capability.expose().to_owned(),
            agent_id: spec.agent_id,
            voice_id: spec.voice_id.clone(),
            // What does not read was never written; the agent goes without it.
            variables: entry.variables.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            test: test.then(|| TestPlan {
                to: entry.to.expose().to_owned(),
                outcome: entry.planned,
                durations: spec.durations,
                seed: spec.seed,
            }),
            added_context: test.then(|| spec.weights.marker()),
            call_id: call_id.clone(),
        };
        let agent_name = if test { TEST_WORKER_NAME } else { LIVE_WORKER_NAME };
        // Nobody but the agent is in a simulated room, and agents do not keep rooms open.
        let longest =
            limits::UNCLAIMED + limits::RINGING + limits::IN_CALL + limits::CALLBACK_GRACE;
        NewDispatch {
            room: call_id.to_string(),
            agent_name: agent_name.to_owned(),
            metadata: serde_json::to_string(&metadata).expect("metadata is plain data"),
            empty_timeout_s: u32::try_from(longest.as_secs()).unwrap_or(u32::MAX),
        }
    }
}
