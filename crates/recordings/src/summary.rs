use serde::{Deserialize, Serialize};

use crate::stats::Distribution;
use crate::{Findings, Segment, Turn, TurnKind};

/// What one call comes to, or many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Recordings.
    pub calls: usize,
    /// Their length, in seconds.
    pub duration_s: f64,
    /// Turns of every kind.
    pub turns: usize,
    /// Response latency in milliseconds, of what was answered after its end. None if nothing was.
    pub latency_ms: Option<Distribution>,
    /// From the start of the recording to the agent's first words, where it greets.
    pub greeting_ms: Option<Distribution>,
    /// Answers that began before the caller's end ..
    pub talkovers: usize,
    /// .. and by how much, in milliseconds above zero.
    pub talkover_ms: Option<Distribution>,
    /// Times that the caller interrupted the agent.
    pub barge_ins: usize,
    /// Those that the agent yielded to.
    pub yielded: usize,
    /// How long it spoke on until it did, in milliseconds.
    pub yield_ms: Option<Distribution>,
    /// Turns that nobody answered.
    pub unanswered: usize,
    /// What callers said that was no turn.
    pub backchannels: usize,
    /// Silences of both that were too long, and their length in seconds.
    pub dead_air: usize,
    /// In all.
    pub dead_air_s: f64,
    /// Seconds in which both spoke.
    pub talk_over_s: f64,
    /// Parts of the time, from 0 to 1, in which the caller spoke, the agent did, and nobody.
    pub caller_share: f64,
    /// The agent's.
    pub agent_share: f64,
    /// Nobody's.
    pub silent_share: f64,
    /// Median of the turns' signal-to-noise ratios, in dB.
    pub snr_db: Option<f64>,
    /// Mean of the turns' confidences, from 0 to 1.
    pub confidence: Option<f64>,
}

impl Summary {
    /// Of these recordings.
    pub fn of(calls: &[&Findings]) -> Self {
        let values = |value: fn(&Turn) -> Option<f64>| Distribution::of(&grouped(calls, value));
        let turns = || calls.iter().flat_map(|call| &call.turns);
        let count = |kind| turns().filter(|turn| turn.kind == kind).count();
        let sum = |seconds: fn(&Findings) -> f64| calls.iter().map(|call| seconds(call)).sum();
        let duration_s: f64 = sum(|call| call.duration_s);
        let share = |seconds: f64| if duration_s > 0.0 { seconds / duration_s } else { 0.0 };
        let caller_s: f64 = sum(|call| call.caller.speech_s());
        let agent_s: f64 = sum(|call| call.agent.speech_s());
        let talk_over_s: f64 = sum(|call| call.talk_over_s);
        let all = turns().count();
        let confidence: f64 = turns().map(|turn| turn.confidence).sum();
        let snr: Vec<f64> = turns().map(|turn| turn.snr_db).collect();
        Self {
            calls: calls.len(),
            duration_s,
            turns: all,
            latency_ms: values(Turn::latency_ms),
            greeting_ms: values(|turn| turn.rtt_ms.filter(|_| turn.kind == TurnKind::Greeting)),
            talkovers: count(TurnKind::Talkover),
            talkover_ms: values(|turn| turn.early_ms()),
            barge_ins: count(TurnKind::BargeIn),
            yielded: turns().filter(|turn| turn.yield_ms.is_some()).count(),
            yield_ms: values(|turn| turn.yield_ms),
            unanswered: count(TurnKind::Unanswered),
            backchannels: calls.iter().map(|call| call.backchannels.len()).sum(),
            dead_air: calls.iter().map(|call| call.dead_air.len()).sum(),
            dead_air_s: sum(|call| call.dead_air.iter().map(Segment::length_s).sum()),
            talk_over_s,
            caller_share: share(caller_s),
            agent_share: share(agent_s),
            silent_share: share((duration_s - caller_s - agent_s + talk_over_s).max(0.0)),
            snr_db: Distribution::quantile_of(&[snr], 0.5),
            confidence: (all > 0).then(|| confidence / all as f64),
        }
    }
}

/// A value of the turns of each call, where they have it.
pub fn grouped(calls: &[&Findings], value: impl Fn(&Turn) -> Option<f64>) -> Vec<Vec<f64>> {
    calls.iter().map(|call| call.turns.iter().filter_map(&value).collect()).collect()
}
