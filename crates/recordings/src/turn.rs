use serde::{Deserialize, Serialize};

use crate::Segment;

/// What kind of turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnKind {
    /// The caller spoke, then the agent did.
    Normal,
    /// The agent began to answer while the caller still spoke: its latency is negative.
    Talkover,
    /// The agent spoke first. Its latency counts from the start of the recording.
    Greeting,
    /// The caller began while the agent spoke, and it was more than a backchannel.
    BargeIn,
    /// The caller spoke and the agent did not answer.
    Unanswered,
}

impl TurnKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Normal, Self::Talkover, Self::Greeting, Self::BargeIn, Self::Unanswered];

    /// As it stands in CSV and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Talkover => "talkover",
            Self::Greeting => "greeting",
            Self::BargeIn => "barge_in",
            Self::Unanswered => "unanswered",
        }
    }
}

/// One turn of a call: what the caller said, pauses included, and the agent's answer to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// What kind it is.
    pub kind: TurnKind,
    /// From the end of the caller's speech to the start of the agent's, in milliseconds; for a
    /// greeting, from the start of the recording. A barge-in's is that of the answer to what the
    /// caller said in it. `None` if the agent did not answer.
    pub rtt_ms: Option<f64>,
    /// The caller's speech; none in a greeting.
    pub caller: Option<Segment>,
    /// The agent's answer, to its end; none if there is none.
    pub agent: Option<Segment>,
    /// Of a barge-in, how long the agent still spoke after the caller began, in milliseconds;
    /// `None` if it spoke on to its own end.
    pub yield_ms: Option<f64>,
    /// How sure the two edges are, from 0 to 1.
    pub confidence: f64,
    /// Level of the speech at the two edges above the noise there, the lower of both, in dB.
    pub snr_db: f64,
}

impl Turn {
    /// The response latency, in milliseconds: of an answer that began after the caller's end.
    pub fn latency_ms(&self) -> Option<f64> {
        let answer = matches!(self.kind, TurnKind::Normal | TurnKind::BargeIn);
        self.rtt_ms.filter(|ms| answer && *ms >= 0.0)
    }

    /// By how much the agent began before the caller's end, in milliseconds above zero.
    pub fn early_ms(&self) -> Option<f64> {
        let early_s = self.caller?.end_s - self.agent?.start_s;
        (early_s > 0.0).then_some(early_s * 1e3)
    }
}
