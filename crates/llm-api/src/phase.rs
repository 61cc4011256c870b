use dialtone_contract::ErrorCode;
use dialtone_contract::wire::WorkerHealth;

/// Where a worker stands in its life. It only ever goes forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its model is being loaded.
    Loading,
    /// It takes requests.
    Ready,
    /// It finishes what it has.
    Draining,
    /// It will never take requests.
    Failed {
        /// Under which code users see it.
        code: ErrorCode,
        /// What happened.
        reason: String,
    },
    /// It is gone but for its last words.
    Stopped,
}

impl Phase {
    /// As heartbeats tell it.
    pub fn health(&self) -> WorkerHealth {
        match self {
            Self::Loading => WorkerHealth::Starting,
            Self::Ready => WorkerHealth::Healthy,
            Self::Draining => WorkerHealth::Draining,
            Self::Failed { .. } => WorkerHealth::Failed,
            Self::Stopped => WorkerHealth::Stopped,
        }
    }

    fn order(&self) -> u8 {
        match self {
            Self::Loading => 0,
            Self::Ready => 1,
            Self::Draining => 2,
            Self::Failed { .. } => 3,
            Self::Stopped => 4,
        }
    }

    /// Whether `next` may follow.
    pub fn precedes(&self, next: &Self) -> bool {
        self.order() < next.order()
    }
}
