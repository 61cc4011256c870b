use serde::{Deserialize, Serialize};

use crate::Side;
use crate::vad::GateKind;

/// Where the caller is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerChannel {
    /// On the first channel.
    #[default]
    Left,
    /// On the second one.
    Right,
    /// Where the recording itself suggests.
    Auto,
}

impl From<Side> for CallerChannel {
    fn from(side: Side) -> Self {
        match side {
            Side::Left => Self::Left,
            Side::Right => Self::Right,
        }
    }
}

/// From where a response latency counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Definition {
    /// From the end of the caller's speech, which is what a caller waits.
    #[default]
    End,
    /// From its start, as older tools measured; only for comparison with their figures.
    Start,
}

/// How a recording is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// What decides whether there is speech.
    pub gate: GateKind,
    /// Where the caller is.
    pub caller: CallerChannel,
    /// From where latency counts.
    pub definition: Definition,
    /// A caller who is silent for longer than this, and whom the agent does not answer
    /// meanwhile, has ended an unanswered turn; what he says next is a new one. In seconds.
    pub unanswered_s: f64,
    /// Silence of both for longer than this is dead air, in seconds.
    pub dead_air_s: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            gate: GateKind::default(),
            caller: CallerChannel::default(),
            definition: Definition::default(),
            unanswered_s: 2.5,
            dead_air_s: 3.0,
        }
    }
}
