//! Who answered whom: from the speech of both sides to turns.

use std::ops::Range;

use crate::track::Sound;
use crate::{Definition, Options, Segment, Turn, TurnKind};

/// Phrases of one side with a shorter pause between them are one utterance, in seconds.
const PHRASE_S: f64 = 0.3;
/// The caller has begun over the agent if the agent speaks on for this long, in seconds.
const OVER_S: f64 = 0.06;
/// A backchannel is no longer than this, in seconds ..
const BACKCHANNEL_S: f64 = 1.0;
/// .. and the agent speaks on for at least so long after it.
const UNIMPRESSED_S: f64 = 0.12;
/// An agent who speaks on for longer than this after the caller's end has not yielded, in seconds.
const STUBBORN_S: f64 = 0.5;

/// Speech of one side that belongs together.
#[derive(Clone, Debug)]
struct Utterance {
    segment: Segment,
    /// Which of the side's sounds it is.
    sounds: Range<usize>,
}

/// What the caller said that is not answered yet.
#[derive(Clone, Debug)]
struct Open {
    said: Segment,
    sounds: Range<usize>,
    /// Of a barge-in, how long the agent spoke on.
    yielded: Option<Option<f64>>,
}

/// What came of a call.
#[derive(Debug, Default)]
pub struct Dialogue {
    pub turns: Vec<Turn>,
    pub backchannels: Vec<Segment>,
}

/// The turns of a call of so many seconds.
pub fn dialogue(caller: &[Sound], agent: &[Sound], options: &Options, end_s: f64) -> Dialogue {
    let mut builder = Builder {
        caller,
        agent,
        options,
        done: Dialogue::default(),
        open: None,
        speaking: None,
        heard: false,
    };
    let (said, answers) = (utterances(caller), utterances(agent));
    let (mut said, mut answers) = (said.into_iter().peekable(), answers.into_iter().peekable());
    loop {
        let caller_first = match (said.peek(), answers.peek()) {
            (Some(said), Some(answer)) => said.segment.start_s <= answer.segment.start_s,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => break,
        };
        if caller_first {
            said.next().into_iter().for_each(|said| builder.caller_begins(said));
        } else {
            answers.next().into_iter().for_each(|answer| builder.agent_begins(answer));
        }
    }
    // Who hangs up after his last words was not left without an answer.
    if let Some(open) = builder.open.take()
        && end_s - open.said.end_s >= options.unanswered_s
    {
        builder.unanswered(&open);
    }
    builder.done
}

/// Sounds with short pauses between them are one utterance.
fn utterances(sounds: &[Sound]) -> Vec<Utterance> {
    let mut found: Vec<Utterance> = Vec::new();
    for (n, sound) in sounds.iter().enumerate() {
        let segment = sound.segment();
        match found.last_mut() {
            Some(last) if segment.start_s - last.segment.end_s < PHRASE_S => {
                last.segment.end_s = segment.end_s;
                last.sounds.end = n + 1;
            }
            _ => found.push(Utterance { segment, sounds: n..n + 1 }),
        }
    }
    found
}

struct Builder<'a> {
    caller: &'a [Sound],
    agent: &'a [Sound],
    options: &'a Options,
    done: Dialogue,
    open: Option<Open>,
    /// What the agent said last.
    speaking: Option<Segment>,
    /// Whether anybody has spoken.
    heard: bool,
}

impl Builder<'_> {
    fn caller_begins(&mut self, said: Utterance) {
        let Utterance { segment, sounds } = said;
        self.heard = true;
        let over = self.speaking.filter(|agent| {
            agent.start_s < segment.start_s && agent.end_s > segment.start_s + OVER_S
        });
        if let Some(agent) = over {
            let on_s = agent.end_s - segment.end_s;
            if segment.length_s() < BACKCHANNEL_S && on_s > UNIMPRESSED_S {
                self.done.backchannels.push(segment);
                return;
            }
            self.close();
            let yield_ms = (agent.end_s - segment.start_s) * 1e3;
            let yielded = Some((on_s < STUBBORN_S).then_some(yield_ms));
            self.open = Some(Open { said: segment, sounds, yielded });
            return;
        }
        match &mut self.open {
            Some(open) if segment.start_s - open.said.end_s < self.options.unanswered_s => {
                open.said.end_s = open.said.end_s.max(segment.end_s);
                open.sounds.end = sounds.end;
            }
            _ => {
                self.close();
                self.open = Some(Open { said: segment, sounds, yielded: None });
            }
        }
    }

    fn agent_begins(&mut self, answer: Utterance) {
        let Utterance { segment, sounds } = answer;
        let first = !std::mem::replace(&mut self.heard, true);
        let early = self.open.as_ref().filter(|open| segment.start_s < open.said.end_s);
        // "Mm-hm": the caller speaks on, and so does his turn.
        let backchannel = early.is_some_and(|open| {
            segment.length_s() < BACKCHANNEL_S && open.said.end_s > segment.end_s + UNIMPRESSED_S
        });
        if backchannel {
            return;
        }
        self.speaking = Some(segment);
        match self.open.take() {
            Some(open) => self.answered(&open, segment, &sounds),
            None if first => self.greeting(segment, &sounds),
            None => {
                // It speaks on after a pause.
                let last = self.done.turns.last_mut().and_then(|turn| turn.agent.as_mut());
                if let Some(last) = last {
                    last.end_s = last.end_s.max(segment.end_s);
                }
            }
        }
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.unanswered(&open);
        }
    }

    fn greeting(&mut self, agent: Segment, sounds: &Range<usize>) {
        let edges = [&self.agent[sounds.start]];
        self.done.turns.push(Turn {
            kind: TurnKind::Greeting,
            rtt_ms: Some(agent.start_s * 1e3),
            caller: None,
            agent: Some(agent),
            yield_ms: None,
            confidence: confidence(&edges),
            snr_db: snr_db(&edges),
        });
    }

    fn answered(&mut self, open: &Open, agent: Segment, sounds: &Range<usize>) {
        let edges = [&self.caller[open.sounds.end - 1], &self.agent[sounds.start]];
        let rtt_ms = (agent.start_s - open.said.end_s) * 1e3;
        let kind = match open.yielded {
            Some(_) => TurnKind::BargeIn,
            None if rtt_ms < 0.0 => TurnKind::Talkover,
            None => TurnKind::Normal,
        };
        let rtt_ms = match self.options.definition {
            Definition::End => rtt_ms,
            Definition::Start => (agent.start_s - open.said.start_s) * 1e3,
        };
        self.done.turns.push(Turn {
            kind,
            rtt_ms: Some(rtt_ms),
            caller: Some(open.said),
            agent: Some(agent),
            yield_ms: open.yielded.flatten(),
            confidence: confidence(&edges),
            snr_db: snr_db(&edges),
        });
    }

    fn unanswered(&mut self, open: &Open) {
        let edges = [&self.caller[open.sounds.end - 1]];
        let barged = open.yielded.is_some();
        self.done.turns.push(Turn {
            kind: if barged { TurnKind::BargeIn } else { TurnKind::Unanswered },
            rtt_ms: None,
            caller: Some(open.said),
            agent: None,
            yield_ms: open.yielded.flatten(),
            confidence: confidence(&edges),
            snr_db: snr_db(&edges),
        });
    }
}

/// Of the least clear of the sounds.
fn snr_db(sounds: &[&Sound]) -> f64 {
    f64::from(sounds.iter().map(|sound| sound.snr_db()).fold(f32::INFINITY, f32::min))
}

/// How likely the turn is there and its edges are right.
fn confidence(sounds: &[&Sound]) -> f64 {
    let sure = |sound: &&Sound| {
        let clear = 1.0 / (1.0 + (-(f64::from(sound.snr_db()) - 12.0) / 6.0).exp());
        clear * f64::from(sound.gate).clamp(0.0, 1.0)
    };
    let product: f64 = sounds.iter().map(sure).product();
    (product * 1e3).round() / 1e3
}

#[cfg(test)]
#[path = "dialogue_tests.rs"]
mod tests;
