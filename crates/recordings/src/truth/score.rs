use crate::{Segment, Turn, TurnKind};

use super::TrueTurn;

/// A turn is found if the agent's start (of a barge-in, the caller's) is this near, in seconds.
const NEAR_S: f64 = 0.25;

/// What an analysis found, held against what is true. Scores of many calls add up.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// Calls.
    pub calls: u32,
    /// Answers that there are: turns with a caller and an agent.
    pub turns: u32,
    /// Answers that were reported.
    pub reported: u32,
    /// Latency found less latency true, in milliseconds, of every answer that was found.
    pub errors_ms: Vec<f64>,
    /// Answers found that were called what they are.
    pub kinds_right: u32,
    /// The true latencies that percentiles are taken of, in milliseconds: talk-over left out.
    pub true_ms: Vec<f64>,
    /// The reported ones.
    pub reported_ms: Vec<f64>,
    /// How well barge-ins are found.
    pub barge_ins: Found,
    /// How long agents took to yield: found less true, in milliseconds.
    pub yield_errors_ms: Vec<f64>,
    /// How well turns without an answer are found.
    pub unanswered: Found,
    /// How well greetings are found.
    pub greetings: Found,
}

/// How many of something there are, were reported, and are both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// That there are.
    pub all: u32,
    /// That were reported.
    pub reported: u32,
    /// That were reported and are there.
    pub right: u32,
}

impl Found {
    /// Of those that there are, how many were reported, in percent.
    pub fn recall(&self) -> Option<f64> {
        percent(self.right, self.all)
    }

    /// Of those that were reported, how many there are, in percent.
    pub fn precision(&self) -> Option<f64> {
        percent(self.right, self.reported)
    }

    fn add(&mut self, other: Self) {
        self.all += other.all;
        self.reported += other.reported;
        self.right += other.right;
    }
}

/// So many of so many in percent; `None` of nothing.
fn percent(part: u32, all: u32) -> Option<f64> {
    (all > 0).then(|| f64::from(part) * 100.0 / f64::from(all))
}

/// What is compared of a turn, found or true.
#[derive(Clone, Copy)]
struct Answer {
    kind: TurnKind,
    caller: Option<Segment>,
    agent: Option<Segment>,
    rtt_ms: Option<f64>,
    yield_ms: Option<f64>,
}

impl From<&Turn> for Answer {
    fn from(turn: &Turn) -> Self {
        let Turn { kind, caller, agent, rtt_ms, yield_ms, .. } = *turn;
        Self { kind, caller, agent, rtt_ms, yield_ms }
    }
}

impl From<&TrueTurn> for Answer {
    fn from(turn: &TrueTurn) -> Self {
        let TrueTurn { kind, caller, agent, yield_ms } = *turn;
        Self { kind, caller, agent, rtt_ms: turn.rtt_ms(), yield_ms }
    }
}

impl Answer {
    /// The latency of an answer to something.
    fn latency_ms(&self) -> Option<f64> {
        self.caller.and(self.agent).and(self.rtt_ms)
    }
}

impl Score {
    /// Of one call.
    pub fn of(found: &[Turn], truth: &[TrueTurn]) -> Self {
        let found: Vec<Answer> = found.iter().map(Answer::from).collect();
        let truth: Vec<Answer> = truth.iter().map(Answer::from).collect();
        let mut score = Self { calls: 1, ..Self::default() };
        score.answers(&found, &truth);
        let (pairs, barge_ins) = matched(&found, &truth, |turn| {
            turn.caller.filter(|_| turn.kind == TurnKind::BargeIn).map(|said| said.start_s)
        });
        score.barge_ins = barge_ins;
        let late = |(found, truth): &(Answer, Answer)| Some(found.yield_ms? - truth.yield_ms?);
        score.yield_errors_ms = pairs.iter().filter_map(late).collect();
        (_, score.unanswered) = matched(&found, &truth, |turn| {
            turn.caller.filter(|_| turn.kind == TurnKind::Unanswered).map(|said| said.end_s)
        });
        (_, score.greetings) = matched(&found, &truth, |turn| {
            turn.agent.filter(|_| turn.kind == TurnKind::Greeting).map(|said| said.start_s)
        });
        score
    }

    fn answers(&mut self, found: &[Answer], truth: &[Answer]) {
        let start = |turn: &Answer| turn.latency_ms().and(turn.agent).map(|answer| answer.start_s);
        let (pairs, counts) = matched(found, truth, start);
        (self.turns, self.reported) = (counts.all, counts.reported);
        for (found, truth) in &pairs {
            if let (Some(found_ms), Some(true_ms)) = (found.latency_ms(), truth.latency_ms()) {
                self.errors_ms.push(found_ms - true_ms);
            }
            self.kinds_right += u32::from(found.kind == truth.kind);
        }
        let waits = |turns: &[Answer]| -> Vec<f64> {
            turns.iter().filter_map(Answer::latency_ms).filter(|ms| *ms >= 0.0).collect()
        };
        (self.true_ms, self.reported_ms) = (waits(truth), waits(found));
    }

    /// Adds the score of other calls.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.turns += other.turns;
        self.reported += other.reported;
        self.errors_ms.extend_from_slice(&other.errors_ms);
        self.kinds_right += other.kinds_right;
        self.true_ms.extend_from_slice(&other.true_ms);
        self.reported_ms.extend_from_slice(&other.reported_ms);
        self.barge_ins.add(other.barge_ins);
        self.yield_errors_ms.extend_from_slice(&other.yield_errors_ms);
        self.unanswered.add(other.unanswered);
        self.greetings.add(other.greetings);
    }

    fn found(&self) -> u32 {
        self.errors_ms.len() as u32
    }

    /// Answers that were not found, in percent of those that there are.
    pub fn missed_percent(&self) -> Option<f64> {
        percent(self.turns - self.found(), self.turns)
    }

    /// Answers reported that there are not, in percent of those that there are.
    pub fn false_percent(&self) -> Option<f64> {
        percent(self.reported - self.found(), self.turns)
    }

    /// Mean error of the latencies, in milliseconds.
    pub fn bias_ms(&self) -> Option<f64> {
        mean(&self.errors_ms)
    }

    /// Mean of the errors' magnitudes, in milliseconds.
    pub fn mae_ms(&self) -> Option<f64> {
        mean(&self.magnitudes())
    }

    /// 95th percentile of the errors' magnitudes, in milliseconds.
    pub fn p95_error_ms(&self) -> Option<f64> {
        quantile(self.magnitudes(), 0.95)
    }

    /// Answers whose error is at most so many milliseconds, in percent of those found.
    pub fn within_percent(&self, ms: f64) -> Option<f64> {
        let near = self.errors_ms.iter().filter(|error| error.abs() <= ms).count();
        percent(near as u32, self.found())
    }

    /// A quantile of the latencies as they are and as they were reported, in milliseconds.
    pub fn latencies_ms(&self, share: f64) -> Option<(f64, f64)> {
        Some((quantile(self.true_ms.clone(), share)?, quantile(self.reported_ms.clone(), share)?))
    }

    /// By how much the reported quantile is off, in percent of the true one.
    pub fn off_percent(&self, share: f64) -> Option<f64> {
        let (truth, reported) = self.latencies_ms(share)?;
        Some((reported - truth) * 100.0 / truth)
    }

    fn magnitudes(&self) -> Vec<f64> {
        self.errors_ms.iter().map(|error| error.abs()).collect()
    }
}

/// Mean of the values; `None` of nothing.
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// A quantile, interpolated between its neighbours; `None` of nothing.
fn quantile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let at = share * values.len().checked_sub(1)? as f64;
    let (low, high) = (values.get(at.floor() as usize)?, values.get(at.ceil() as usize)?);
    Some(low + (high - low) * at.fract())
}

/// Pairs what was found with what is true by a time that both have, the nearest first, and counts
/// what has that time at all.
fn matched(
    found: &[Answer],
    truth: &[Answer],
    at: impl Fn(&Answer) -> Option<f64>,
) -> (Vec<(Answer, Answer)>, Found) {
    let timed = |turns: &[Answer]| -> Vec<(f64, Answer)> {
        turns.iter().filter_map(|turn| Some((at(turn)?, *turn))).collect()
    };
    let (found, truth) = (timed(found), timed(truth));
    let mut near: Vec<(f64, usize, usize)> = Vec::new();
    for (n, (found_s, _)) in found.iter().enumerate() {
        for (m, (true_s, _)) in truth.iter().enumerate() {
            let apart_s = (found_s - true_s).abs();
            if apart_s <= NEAR_S {
                near.push((apart_s, n, m));
            }
        }
    }
    near.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut taken, mut met) = (vec![false; found.len()], vec![false; truth.len()]);
    let mut pairs = Vec::new();
    for (_, n, m) in near {
        if !taken[n] && !met[m] {
            (taken[n], met[m]) = (true, true);
            pairs.push((found[n].1, truth[m].1));
        }
    }
    let counts =
        Found { all: truth.len() as u32, reported: found.len() as u32, right: pairs.len() as u32 };
    (pairs, counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(kind: TurnKind, caller: (f64, f64), agent: Option<(f64, f64)>) -> TrueTurn {
        TrueTurn {
            kind,
            caller: Some(Segment::new(caller.0, caller.1)),
            agent: agent.map(|(start, end)| Segment::new(start, end)),
            yield_ms: (kind == TurnKind::BargeIn).then_some(400.0),
        }
    }

    /// What would be reported of it, with the edges off by so much.
    fn found(turn: &TrueTurn, caller_end_s: f64, agent_start_s: f64) -> Turn {
        let caller = turn.caller.map(|said| Segment::new(said.start_s, said.end_s + caller_end_s));
        let agent = turn.agent.map(|said| Segment::new(said.start_s + agent_start_s, said.end_s));
        let rtt_ms = caller.zip(agent).map(|(said, heard)| (heard.start_s - said.end_s) * 1e3);
        let yield_ms = turn.yield_ms.map(|ms| ms + 30.0);
        Turn { kind: turn.kind, rtt_ms, caller, agent, yield_ms, confidence: 1.0, snr_db: 40.0 }
    }

    fn near(value: Option<f64>, expected: f64) {
        assert!(value.is_some_and(|value| (value - expected).abs() < 1e-6), "{value:?} {expected}");
    }

    #[test]
    fn what_was_found_is_measured_and_what_was_not_is_counted() {
        let truths = [
            truth(TurnKind::Normal, (1.0, 2.0), Some((3.0, 4.0))),
            truth(TurnKind::Normal, (5.0, 6.0), Some((6.5, 8.0))),
            truth(TurnKind::BargeIn, (7.6, 9.0), Some((10.0, 11.0))),
            truth(TurnKind::Unanswered, (12.0, 13.0), None),
            truth(TurnKind::Talkover, (18.0, 20.0), Some((19.8, 22.0))),
        ];
        let [first, second, barge, silent, over] = &truths;
        let turns = [
            found(first, 0.010, 0.0),
            // Too far off: this one is missed, and something else was reported.
            found(second, 0.0, 0.3),
            found(barge, -0.020, 0.010),
            found(silent, 0.1, 0.0),
            found(over, 0.0, -0.010),
        ];
        let mut score = Score::of(&turns, &truths);
        assert_eq!((score.turns, score.reported, score.kinds_right), (4, 4, 3));
        near(score.missed_percent(), 25.0);
        near(score.false_percent(), 25.0);
        near(score.bias_ms(), (-10.0 + 30.0 - 10.0) / 3.0);
        near(score.mae_ms(), 50.0 / 3.0);
        near(score.within_percent(10.001), 200.0 / 3.0);
        // Talk-over has no part in the percentiles: 500, 1000, 1000 against 800, 990, 1030.
        near(score.off_percent(0.5), -1.0);
        assert_eq!(score.barge_ins, Found { all: 1, reported: 1, right: 1 });
        assert_eq!(score.unanswered, Found { all: 1, reported: 1, right: 1 });
        near(score.yield_errors_ms.first().copied(), 30.0);
        score.add(&Score::of(&[], &truths));
        near(score.missed_percent(), 62.5);
        near(score.barge_ins.recall(), 50.0);
        near(score.barge_ins.precision(), 100.0);
    }

    #[test]
    fn one_report_counts_for_one_turn() {
        let turn = truth(TurnKind::Normal, (1.0, 2.0), Some((3.0, 4.0)));
        let score = Score::of(&[found(&turn, 0.0, 0.0), found(&turn, 0.0, 0.1)], &[turn]);
        near(score.missed_percent(), 0.0);
        near(score.false_percent(), 100.0);
        near(score.mae_ms(), 0.0);
    }

    #[test]
    fn nothing_has_no_figures() {
        let score = Score::of(&[], &[]);
        assert_eq!(
            (score.missed_percent(), score.mae_ms(), score.off_percent(0.5)),
            (None, None, None)
        );
    }
}
