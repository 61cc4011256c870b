use super::RATE;
use super::bank::{Bank, Clip, ClipKind};
use super::call::TrueTurn;
use super::dice::Dice;
use super::noise::{rms, seconds};
use super::trim::fade_out;
use crate::{Segment, TurnKind};

/// Seconds after which nobody begins another exchange.
const LAST_EXCHANGE_S: f64 = 76.0;
/// Length of every call, seconds.
const LENGTH_S: f64 = 85.0;
/// How long the last interruption of a call waits for its answer, seconds.
const LAST_ANSWER_S: f64 = 0.6;
/// Who is interrupted falls silent within so many seconds, not at once.
const CUT_S: f64 = 0.005;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    Caller,
    Agent,
}

/// Something said, at its level.
pub struct Spoken {
    pub speaker: Speaker,
    /// First sample in the call.
    pub start: usize,
    pub samples: Vec<f32>,
}

/// Who says what when in one call.
pub struct Plan {
    pub spoken: Vec<Spoken>,
    pub turns: Vec<TrueTurn>,
    /// Samples of the whole call.
    pub length: usize,
}

/// From where to where somebody speaks, in samples.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
}

/// What the caller said, and what the agent is going to answer.
#[derive(Clone, Copy)]
struct Said {
    span: Span,
    /// How long the agent spoke on, if it was interrupted by this.
    yield_ms: Option<f64>,
}

impl Said {
    fn kind(self) -> TurnKind {
        if self.yield_ms.is_some() { TurnKind::BargeIn } else { TurnKind::Normal }
    }
}

impl Plan {
    /// A conversation of this caller and this agent (voices of the bank) at these levels, as root
    /// mean square.
    pub fn new(
        bank: &Bank,
        (caller, agent): (&str, &str),
        levels: (f64, f64),
        dice: &mut Dice,
    ) -> Self {
        let mut planner =
            Planner { bank, dice, caller, agent, levels, spoken: Vec::new(), turns: Vec::new() };
        let (mut now, mut open) = planner.beginning();
        while now < seconds(LAST_EXCHANGE_S) {
            (now, open) = planner.exchange(now, open);
        }
        if let Some(said) = open {
            now = planner.answer(said, LAST_ANSWER_S, false).end;
        }
        let end = now + seconds(planner.dice.between(0.4, 1.5));
        let Planner { spoken, turns, .. } = planner;
        Self { spoken, turns, length: end.max(seconds(LENGTH_S)) }
    }
}

struct Planner<'a> {
    bank: &'a Bank,
    dice: &'a mut Dice,
    caller: &'a str,
    agent: &'a str,
    levels: (f64, f64),
    spoken: Vec<Spoken>,
    turns: Vec<TrueTurn>,
}

impl Planner<'_> {
    /// The beginning: who is called says hello and waits for the answer, or the agent greets
    /// unasked; where that ends.
    fn beginning(&mut self) -> (usize, Option<Said>) {
        let now = seconds(self.dice.between(0.3, 1.2));
        if self.dice.chance(0.5) {
            let clip = self.clip(Speaker::Caller, ClipKind::Answer);
            let span = self.say(Speaker::Caller, now, clip);
            let said = Said { span, yield_ms: None };
            let latency_s = self.latency_s();
            return (self.answer(said, latency_s, false).end, None);
        }
        let heard = self.agent_speaks(now, 2);
        self.turn(TurnKind::Greeting, None, Some(heard));
        (heard.end, None)
    }

    /// The caller says something and the agent answers, or not; where that ends, and what the
    /// caller said over the answer, if he interrupted it.
    fn exchange(&mut self, now: usize, open: Option<Said>) -> (usize, Option<Said>) {
        let interrupted = open.is_some();
        let said = open.unwrap_or_else(|| {
            let start = now + seconds(self.dice.between(0.3, 1.5));
            Said { span: self.caller_speaks(start), yield_ms: None }
        });
        if !interrupted && self.dice.chance(0.05) {
            self.turn(TurnKind::Unanswered, Some(said), None);
            return (said.span.end + seconds(self.dice.between(4.2, 6.0)), None);
        }
        if !interrupted && self.dice.chance(0.08) {
            let early_s = self.dice.between(0.1, 0.5);
            return (self.answer(said, -early_s, false).end, None);
        }
        let latency_s = self.latency_s();
        if self.dice.chance(0.12) {
            let over = self.interrupted_answer(said, latency_s);
            return (over.span.end, Some(over));
        }
        (self.answer(said, latency_s, true).end, None)
    }

    /// The agent answers so long after the caller.
    fn answer(&mut self, said: Said, latency_s: f64, backchannels: bool) -> Span {
        let late = (latency_s * f64::from(RATE)).round() as isize;
        let before = self.spoken.len();
        let phrases = 1 + self.dice.below(3);
        let heard = self.agent_speaks(said.span.end.saturating_add_signed(late), phrases);
        let kind = if late < 0 { TurnKind::Talkover } else { said.kind() };
        self.turn(kind, Some(said), Some(heard));
        if backchannels && self.dice.chance(0.25) {
            self.backchannel(before);
        }
        heard
    }

    /// The agent answers, the caller speaks over it, and it yields; what the caller said.
    fn interrupted_answer(&mut self, said: Said, latency_s: f64) -> Said {
        let before = self.spoken.len();
        let phrases = 1 + self.dice.below(3);
        let heard = self.agent_speaks(said.span.end + seconds(latency_s), phrases);
        // Within one phrase, so that there is somebody to interrupt, and to stop.
        let victim = before + self.dice.below(phrases);
        let yield_s = self.dice.between(0.15, 0.9);
        let (phrase_start, length) =
            self.spoken.get(victim).map_or((0, 0), |phrase| (phrase.start, phrase.samples.len()));
        let latest = length as f64 / f64::from(RATE) - yield_s - 0.1;
        let onset = phrase_start + seconds(self.dice.between(0.3, latest.max(0.35)));
        let stop = (onset + seconds(yield_s)).min(phrase_start + length);
        self.spoken.truncate(victim + 1);
        if let Some(phrase) = self.spoken.last_mut() {
            phrase.samples.truncate(stop - phrase_start);
            fade_out(&mut phrase.samples, seconds(CUT_S));
        }
        self.turn(said.kind(), Some(said), Some(Span { end: stop, ..heard }));
        let clip = self.clip(Speaker::Caller, ClipKind::Stop);
        let mut span = self.say(Speaker::Caller, onset, clip);
        if self.dice.chance(0.4) {
            let pause = seconds(self.dice.between(0.15, 0.7));
            let clip = self.clip(Speaker::Caller, ClipKind::Phrase);
            span.end = self.say(Speaker::Caller, span.end + pause, clip).end;
        }
        Said { span, yield_ms: Some((stop - onset) as f64 * 1e3 / f64::from(RATE)) }
    }

    /// The caller says "uh huh" while the agent speaks on, within one of its phrases since then.
    fn backchannel(&mut self, since: usize) {
        if !self.bank.has(self.caller, ClipKind::Backchannel) {
            return;
        }
        let clip = self.clip(Speaker::Caller, ClipKind::Backchannel);
        let edge = seconds(0.25);
        let fits = self.spoken.iter().skip(since).find(|spoken| {
            spoken.speaker == Speaker::Agent && spoken.samples.len() > clip.len() + 2 * edge
        });
        let Some((start, room)) =
            fits.map(|spoken| (spoken.start + edge, spoken.samples.len() - clip.len() - 2 * edge))
        else {
            return;
        };
        let at = start + self.dice.below(room);
        self.say(Speaker::Caller, at, clip);
    }

    /// One to three phrases, with pauses to think.
    fn caller_speaks(&mut self, start: usize) -> Span {
        let phrases = [1, 1, 1, 1, 1, 2, 2, 2, 3, 3][self.dice.below(10)];
        self.speaks(Speaker::Caller, start, phrases, 0.7)
    }

    fn agent_speaks(&mut self, start: usize, phrases: usize) -> Span {
        self.speaks(Speaker::Agent, start, phrases, 0.6)
    }

    fn speaks(&mut self, speaker: Speaker, start: usize, phrases: usize, pause_s: f64) -> Span {
        let mut end = start;
        for n in 0..phrases {
            let pause = if n == 0 { 0 } else { seconds(self.dice.between(0.15, pause_s)) };
            let clip = self.clip(speaker, ClipKind::Phrase);
            end = self.say(speaker, end + pause, clip).end;
        }
        Span { start, end }
    }

    /// How long the agent takes: around 0.8 s, seldom up to 4.
    fn latency_s(&mut self) -> f64 {
        (0.8 * (0.6 * self.dice.normal()).exp()).clamp(0.12, 4.0)
    }

    /// An utterance of this speaker at its level, a little louder or quieter each time.
    fn clip(&mut self, speaker: Speaker, kind: ClipKind) -> Vec<f32> {
        let (voice, level) = match speaker {
            Speaker::Caller => (self.caller, self.levels.0),
            Speaker::Agent => (self.agent, self.levels.1),
        };
        let clips: Vec<&Clip> = self.bank.of(voice, kind);
        if clips.is_empty() {
            return Vec::new();
        }
        let samples = &clips[self.dice.below(clips.len())].samples;
        let about = self.dice.between(-2.0, 2.0);
        let gain = level * super::noise::amplitude(about) / rms(samples).max(1e-6);
        samples.iter().map(|sample| (f64::from(*sample) * gain) as f32).collect()
    }

    fn say(&mut self, speaker: Speaker, start: usize, samples: Vec<f32>) -> Span {
        let end = start + samples.len();
        self.spoken.push(Spoken { speaker, start, samples });
        Span { start, end }
    }

    fn turn(&mut self, kind: TurnKind, said: Option<Said>, heard: Option<Span>) {
        let s = |sample: usize| sample as f64 / f64::from(RATE);
        let segment = |span: Span| Segment::new(s(span.start), s(span.end));
        self.turns.push(TrueTurn {
            kind,
            caller: said.map(|said| segment(said.span)),
            agent: heard.map(segment),
            yield_ms: said.and_then(|said| said.yield_ms),
        });
    }
}
