use std::cmp::Ordering;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::Sampling;
use crate::Token;

/// Chooses the tokens of one answer. Its draws depend on its seed and on how many it made, so
/// that what runs beside an answer cannot change it.
#[derive(Clone, Debug)]
pub struct Sampler {
    settings: Sampling,
    random: ChaCha8Rng,
    kept: Vec<Candidate>,
    weights: Vec<f32>,
}

/// The model gave logits that are no numbers: nothing can be chosen from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model's logits are not finite")]
pub struct NotFinite;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    logit: f32,
    token: Token,
}

impl Candidate {
    /// Best first, of equals the lowest id.
    fn order(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.token.cmp(&other.token))
    }
}

impl Sampler {
    /// A sampler at the beginning of an answer, with settings that are
    /// [valid](Sampling::validate).
    pub fn new(settings: Sampling) -> Self {
        let random = ChaCha8Rng::seed_from_u64(settings.seed);
        Self { settings, random, kept: Vec::new(), weights: Vec::new() }
    }

    /// Chooses the token that follows `past` (prompt and answer so far). `logits` has one value
    /// per token of the vocabulary, and is changed by the penalty.
    ///
    /// # Errors
    /// If a logit is infinite or not a number, or there is none.
    pub fn pick(&mut self, logits: &mut [f32], past: &[Token]) -> Result<Token, NotFinite> {
        // Without an early exit the loop is one of vectors.
        if logits.is_empty() || !logits.iter().fold(true, |all, logit| all & logit.is_finite()) {
            return Err(NotFinite);
        }
        self.penalise(logits, past);
        let max = largest(logits);
        if self.settings.temperature <= 0.0 {
            let best = logits.iter().position(|logit| *logit == max).ok_or(NotFinite)?;
            return Ok(best as Token);
        }
        // 53 bits: all that an f64 below 1 holds.
        let place = (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        if self.cuts(logits.len()) {
            self.keep(logits, max);
            let logits = self.kept.iter().map(|candidate| candidate.logit);
            let at = draw(&mut self.weights, logits, max, self.settings.temperature, place);
            Ok(self.kept[at].token)
        } else {
            let logits = logits.iter().copied();
            let at = draw(&mut self.weights, logits, max, self.settings.temperature, place);
            Ok(at as Token)
        }
    }

    fn penalise(&self, logits: &mut [f32], past: &[Token]) {
        let penalty = self.settings.repeat_penalty;
        if penalty == 1.0 {
            return;
        }
        let from = past.len().saturating_sub(self.settings.repeat_last);
        let mut seen = past[from..].to_vec();
        seen.sort_unstable();
        seen.dedup();
        for token in seen {
            if let Some(logit) = logits.get_mut(token as usize) {
                let scaled = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
                *logit = scaled.clamp(f32::MIN, f32::MAX);
            }
        }
    }

    /// Whether some of `vocab` tokens may have to go.
    fn cuts(&self, vocab: usize) -> bool {
        self.top_k(vocab) < vocab || self.settings.top_p < 1.0 || self.settings.min_p > 0.0
    }

    fn top_k(&self, vocab: usize) -> usize {
        if self.settings.top_k == 0 { vocab } else { self.settings.top_k.min(vocab) }
    }

    /// Leaves in `kept`, in the order of their ids, the tokens that may be drawn.
    fn keep(&mut self, logits: &[f32], max: f32) {
        let (top_k, top_p) = (self.top_k(logits.len()), self.settings.top_p);
        if top_p < 1.0 {
            self.nucleus(logits, max, top_k);
        } else if top_k < logits.len() {
            best(logits, top_k, &mut self.kept);
        } else {
            self.kept.clear();
            self.kept
                .extend((0..).zip(logits).map(|(token, logit)| Candidate { logit: *logit, token }));
        }
        if self.settings.min_p > 0.0 {
            let least = max + self.settings.min_p.ln();
            self.kept.retain(|candidate| candidate.logit >= least);
        }
        self.kept.sort_unstable_by_key(|candidate| candidate.token);
    }

    /// Leaves in `kept` the fewest of the best tokens that have `top_p` of the probability that
    /// the best `top_k` have together.
    fn nucleus(&mut self, logits: &[f32], max: f32, top_k: usize) {
        let share = f64::from(self.settings.top_p);
        // Few tokens have most of the probability: looking for them among ever more of the best
        // spares sorting the vocabulary.
        let mut among = if top_k < logits.len() { top_k } else { 64.min(logits.len()) };
        let whole = (top_k == logits.len())
            .then(|| weigh(&mut self.weights, logits.iter().copied(), max, 1.0));
        loop {
            best(logits, among, &mut self.kept);
            self.kept.sort_unstable_by(Candidate::order);
            let kept = self.kept.iter().map(|candidate| candidate.logit);
            let wanted = share * whole.unwrap_or_else(|| weigh(&mut self.weights, kept, max, 1.0));
            let mut sum = 0.0;
            let enough = self.kept.iter().position(|candidate| {
                sum += f64::from(exp(candidate.logit - max));
                sum >= wanted
            });
            if let Some(last) = enough {
                return self.kept.truncate(last + 1);
            }
            if among == top_k {
                return;
            }
            among = (among * 8).min(top_k);
        }
    }
}

/// Leaves in `kept` the `count` largest, in any order.
fn best(logits: &[f32], count: usize, kept: &mut Vec<Candidate>) {
    kept.clear();
    let most = (2 * count).max(64);
    let mut least = f32::NEG_INFINITY;
    for (token, logit) in (0..).zip(logits.iter().copied()) {
        // One that equals the least of `count` earlier ones has the higher id: it loses.
        if logit > least {
            kept.push(Candidate { logit, token });
            if kept.len() == most {
                least = cut(kept, count);
            }
        }
    }
    cut(kept, count);
}

/// Leaves the `count` largest, and returns the least of them (or less than all, if there are
/// fewer).
fn cut(kept: &mut Vec<Candidate>, count: usize) -> f32 {
    if kept.len() < count || count == 0 {
        return f32::NEG_INFINITY;
    }
    let (_, least, _) = kept.select_nth_unstable_by(count - 1, Candidate::order);
    let least = least.logit;
    kept.truncate(count);
    least
}

/// Draws an index; `place` is in 0..1.
fn draw(
    weights: &mut Vec<f32>,
    logits: impl Iterator<Item = f32>,
    max: f32,
    temperature: f32,
    place: f64,
) -> usize {
    let target = place * weigh(weights, logits, max, temperature);
    let mut sum = 0.0;
    let at = weights.iter().position(|weight| {
        sum += f64::from(*weight);
        sum > target
    });
    // Rounding may put the target at the very end.
    at.or_else(|| weights.iter().rposition(|weight| *weight > 0.0)).unwrap_or(0)
}

/// Leaves in `weights` how likely each is, as a multiple of the one with `max`. Returns the sum.
fn weigh(
    weights: &mut Vec<f32>,
    logits: impl Iterator<Item = f32>,
    max: f32,
    temperature: f32,
) -> f64 {
    weights.clear();
    weights.extend(logits.map(|logit| exp((logit - max) / temperature)));
    weights.iter().map(|weight| f64::from(*weight)).sum()
}

fn largest(logits: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (chunks, rest) = logits.as_chunks::<16>();
    for chunk in chunks {
        for (lane, logit) in lanes.iter_mut().zip(chunk) {
            *lane = if *logit > *lane { *logit } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// e to the power of `x <= 0`, to 2e-7 of it; 0 below -87.
///
/// Not the one of the standard library, which is the platform's: the same seed gives the same
/// answer everywhere. Range reduction and polynomial are those of Cephes' `expf`.
#[inline]
fn exp(x: f32) -> f32 {
    /// Added and taken away again, it rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    let clamped = if x < -87.0 { -87.0 } else { x };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = clamped - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let mut sum = 1.987_569_1e-4;
    for factor in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        sum = sum * rest + factor;
    }
    sum = sum * rest * rest + rest + 1.0;
    let power = f32::from_bits(((whole as i32 + 127) as u32) << 23);
    if x < -87.0 { 0.0 } else { sum * power }
}
