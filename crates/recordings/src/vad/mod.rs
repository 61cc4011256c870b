//! Gates: what decides whether a piece of a channel is speech. Where the speech begins and ends
//! is decided elsewhere, so a gate may be late, or early, by its frame.

mod energy;
mod silero;
mod webrtc;

use serde::{Deserialize, Serialize};

pub use self::energy::Energy;
pub use self::silero::Silero;
pub use self::webrtc::Webrtc;

/// What decides whether there is speech on one channel.
pub trait Gate {
    /// Samples in a second that it takes.
    fn rate(&self) -> u32;

    /// Samples of one answer.
    fn frame(&self) -> usize;

    /// Takes the next samples, full scale at -1 and 1, and appends for each frame that is now
    /// whole how likely it is speech, from 0 to 1. Answers may be behind; their order is kept.
    fn push(&mut self, samples: &[f32], speech: &mut Vec<f32>);

    /// Answers for what is left, the last frame filled up with silence, and forgets all.
    fn finish(&mut self, speech: &mut Vec<f32>);
}

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

    /// A gate of this kind for one channel.
    pub fn gate(self) -> Box<dyn Gate> {
        match self {
            Self::Silero => Box::new(Silero::new()),
            Self::Webrtc => Box::new(Webrtc::new()),
            Self::Energy => Box::new(Energy::new()),
        }
    }
}
