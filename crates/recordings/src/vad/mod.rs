//! Gates: what decides whether a piece of a channel is speech. Where the speech begins and ends
//! is decided elsewhere, so a gate may be late, or early, by its frame.

use serde::{Deserialize, Serialize};

/// Which gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// A small recurrent network: best in noise and music.
    #[default]
    Silero,
    /// Gaussian mixtures over six bands, as in WebRTC: ten times faster.
    Webrtc,
    /// The energy alone: fastest, and fooled by whatever is loud.
    Energy,
}

impl GateKind {
    /// Every gate.
    pub const ALL: [Self; 3] = [Self::Silero, Self::Webrtc, Self::Energy];

    /// As users spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silero => "silero",
            Self::Webrtc => "webrtc",
            Self::Energy => "energy",
        }
    }
}
