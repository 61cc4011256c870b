use async_trait::async_trait;

/// An agent to be sent to a room.
#[derive(Clone)]
pub struct NewDispatch {
    /// The room; made if it does not exist.
    pub room: String,
    /// The name under which the wanted agent workers are registered.
    pub agent_name: String,
    /// What the agent gets to know. May hold a capability: never logged.
    pub metadata: String,
    /// Wall seconds that the room stays open with nobody but agents in it. Agents do not
    /// keep a room open, so this must be longer than the call.
    pub empty_timeout_s: u32,
}

/// Why LiveKit did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LiveKitError {
    /// The request never left; nothing has happened.
    #[error("livekit cannot be reached: {0}")]
    NotSent(String),
    /// It said no; nothing has happened.
    #[error("livekit refused: {0}")]
    Refused(String),
    /// It cannot be reached, failed, or did not answer in time; it may have happened.
    #[error("livekit did not answer: {0}")]
    Unknown(String),
}

/// What the platform asks of LiveKit.
#[async_trait]
pub trait LiveKit: Send + Sync + 'static {
    /// Sends an agent to a room and gives the dispatch's id. An `Ok` means that LiveKit
    /// took the request, not that any worker has it.
    async fn dispatch(&self, new: &NewDispatch) -> Result<String, LiveKitError>;

    /// Takes a dispatch back, so that no agent begins it any more; `Ok` too if there is
    /// none.
    async fn delete_dispatch(&self, room: &str, dispatch_id: &str) -> Result<(), LiveKitError>;

    /// Closes a room and ends its agents' jobs; `Ok` too if there is none.
    async fn delete_room(&self, room: &str) -> Result<(), LiveKitError>;
}
