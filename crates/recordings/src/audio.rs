use serde::{Deserialize, Serialize};

/// A channel of a stereo recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The first channel.
    Left,
    /// The second one.
    Right,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    /// As users spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }
}

/// A whole recording in memory. Long ones are better pushed through in pieces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stereo {
    /// Samples of one channel in a second.
    pub rate: u32,
    /// The first channel, full scale at -1 and 1.
    pub left: Vec<f32>,
    /// The second one, as long as the first.
    pub right: Vec<f32>,
}

impl Stereo {
    /// How long it is, in seconds.
    pub fn duration_s(&self) -> f64 {
        self.left.len() as f64 / f64::from(self.rate.max(1))
    }
}
