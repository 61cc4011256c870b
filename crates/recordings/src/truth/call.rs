use super::dice::Dice;
use super::noise::amplitude;
use super::plan::{Plan, Speaker};
use super::{Bank, Condition, RATE};
use crate::{Segment, Stereo, TurnKind};

/// A turn as it was made. Times are seconds from the start of the call.
#[derive(Clone, Debug, PartialEq)]
pub struct TrueTurn {
    /// What kind of turn it is.
    pub kind: TurnKind,
    /// What the caller said, pauses included; none where the agent greets unasked.
    pub caller: Option<Segment>,
    /// What the agent answered; none if it did not.
    pub agent: Option<Segment>,
    /// Of a barge-in, how long the agent still spoke after the caller began, in milliseconds.
    pub yield_ms: Option<f64>,
}

impl TrueTurn {
    /// From the end of the caller's speech to the start of the agent's, in milliseconds; negative
    /// where the agent began too early.
    pub fn rtt_ms(&self) -> Option<f64> {
        Some((self.agent?.start_s - self.caller?.end_s) * 1e3)
    }
}

/// A call that is known through and through.
#[derive(Clone, Debug)]
pub struct Call {
    /// The seed that it was made from.
    pub seed: u64,
    /// What the line did to it.
    pub condition: Condition,
    /// Its sound, 8,000 samples a second, the caller on the left.
    pub audio: Stereo,
    /// Its turns, in order.
    pub turns: Vec<TrueTurn>,
}

impl Call {
    /// The call of this seed in this condition, about 85 s long.
    pub fn make(seed: u64, condition: Condition, bank: &Bank) -> Self {
        let mut dice = Dice::new(seed, &["call", condition.name()]);
        let voices = bank.voices();
        let one = dice.below(voices.len());
        // Somebody else, where there is anybody else.
        let other = (one + 1 + dice.below(voices.len().saturating_sub(1))) % voices.len().max(1);
        let name = |n: usize| voices.get(n).map_or("", String::as_str);
        let caller = amplitude(condition.caller_dbfs(&mut dice));
        let agent = amplitude(dice.between(-25.0, -20.0));
        let plan = Plan::new(bank, (name(one), name(other)), (caller, agent), &mut dice);
        let mut audio =
            Stereo { rate: RATE, left: vec![0.0; plan.length], right: vec![0.0; plan.length] };
        for spoken in &plan.spoken {
            let channel = match spoken.speaker {
                Speaker::Caller => &mut audio.left,
                Speaker::Agent => &mut audio.right,
            };
            for (sum, sample) in channel.iter_mut().skip(spoken.start).zip(&spoken.samples) {
                *sum += sample;
            }
        }
        let mut line = Dice::new(seed, &["line", condition.name()]);
        condition.apply(&mut audio, (caller, agent), bank, &mut line);
        let mut turns = plan.turns;
        turns.sort_by(|a, b| order(a).total_cmp(&order(b)));
        Self { seed, condition, audio, turns }
    }

    /// How many turns of this kind it has.
    pub fn count(&self, kind: TurnKind) -> usize {
        self.turns.iter().filter(|turn| turn.kind == kind).count()
    }
}

/// Where a turn stands in a call.
fn order(turn: &TrueTurn) -> f64 {
    turn.caller.or(turn.agent).map_or(0.0, |segment| segment.start_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_call_and_another_seed_another() {
        let bank = Bank::built_in();
        let make = |seed| Call::make(seed, Condition::Noise20, &bank);
        let (one, again, other) = (make(3), make(3), make(4));
        assert_eq!(one.audio.left, again.audio.left);
        assert_eq!(one.turns, again.turns);
        assert_ne!(one.turns, other.turns);
    }

    #[test]
    fn what_is_true_can_be_heard() {
        let bank = Bank::built_in();
        for seed in 0..4 {
            let call = Call::make(seed, Condition::Clean, &bank);
            let loud = |channel: &[f32], from_s: f64, to_s: f64| {
                let at = |s: f64| (s * f64::from(RATE)).round() as usize;
                let part = channel.get(at(from_s)..at(to_s)).unwrap_or_default();
                super::super::noise::rms(part)
            };
            for turn in &call.turns {
                for (channel, segment) in
                    [(&call.audio.left, turn.caller), (&call.audio.right, turn.agent)]
                {
                    let Some(Segment { start_s: start, end_s: end }) = segment else { continue };
                    let hiss = amplitude(-70.0);
                    assert!(loud(channel, start, start + 0.03) > hiss, "seed {seed} {turn:?}");
                    assert!(loud(channel, end - 0.05, end) > hiss, "seed {seed} {turn:?}");
                    // Another one's turn may follow at once; nothing of one's own comes before.
                    assert!(loud(channel, start - 0.05, start - 0.001) < hiss, "{seed} {turn:?}");
                }
            }
        }
    }

    #[test]
    fn all_kinds_of_turns_come_up() {
        let bank = Bank::built_in();
        let calls: Vec<Call> =
            (0..10).map(|seed| Call::make(seed, Condition::Clean, &bank)).collect();
        let count = |kind| calls.iter().map(|call| call.count(kind)).sum::<usize>();
        assert!((1..10).contains(&count(TurnKind::Greeting)), "{}", count(TurnKind::Greeting));
        assert!(count(TurnKind::Normal) > 60, "{}", count(TurnKind::Normal));
        for kind in [TurnKind::Talkover, TurnKind::BargeIn, TurnKind::Unanswered] {
            assert!(count(kind) >= 3, "{kind:?}: {}", count(kind));
        }
    }
}
