//! How the next token is chosen from logits.

mod sampler;

use serde::{Deserialize, Serialize};

pub use sampler::{NotFinite, Sampler};

/// How to choose. The defaults are greedy: the same answer every time.
///
/// The steps come in the order that llama.cpp has by default: repeat penalty, `top_k`, `top_p`,
/// `min_p`, temperature. So the cuts look at the probabilities that the model gave, and the
/// temperature at what they leave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// 0 takes the most likely token (of equals the lowest id); else logits are divided by it.
    /// 0 to 2.
    pub temperature: f32,
    /// Only the `top_k` most likely tokens; 0 = all.
    pub top_k: usize,
    /// Only the most likely tokens whose probabilities add up to `top_p`; 1 = all. Above 0.
    pub top_p: f32,
    /// Only tokens at least `min_p` times as likely as the most likely one; 0 = all. 0 to 1.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens that came among the last
    /// `repeat_last` of prompt and answer; 1 = none. 0.1 to 10.
    pub repeat_penalty: f32,
    /// How far back `repeat_penalty` looks, in tokens.
    pub repeat_last: usize,
    /// Seed of the draw. The same seed, prompt and settings give the same answer, whatever runs
    /// beside it.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_last: 64,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Says which field cannot be served, and why.
    ///
    /// # Errors
    /// The first such field with the reason.
    pub fn validate(&self) -> Result<(), (&'static str, String)> {
        let rules = [
            ("temperature", self.temperature, (0.0..=2.0).contains(&self.temperature), "0 to 2"),
            ("top_p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "above 0, at most 1"),
            ("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "0 to 1"),
            (
                "repeat_penalty",
                self.repeat_penalty,
                (0.1..=10.0).contains(&self.repeat_penalty),
                "0.1 to 10",
            ),
        ];
        match rules.into_iter().find(|(_, _, holds, _)| !holds) {
            Some((field, value, _, range)) => Err((field, format!("{value} is not {range}"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_served_is_named() {
        assert_eq!(Sampling::default().validate(), Ok(()));
        let bad = |change: fn(&mut Sampling)| {
            let mut sampling = Sampling::default();
            change(&mut sampling);
            sampling.validate().expect_err("refused").0
        };
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.1, 2.1] {
            let sampling = Sampling { temperature: value, ..Sampling::default() };
            assert_eq!(sampling.validate().expect_err("refused").0, "temperature", "{value}");
        }
        assert_eq!(bad(|s| s.top_p = 0.0), "top_p");
        assert_eq!(bad(|s| s.top_p = 1.1), "top_p");
        assert_eq!(bad(|s| s.top_p = f32::NAN), "top_p");
        assert_eq!(bad(|s| s.min_p = -0.1), "min_p");
        assert_eq!(bad(|s| s.min_p = f32::NAN), "min_p");
        assert_eq!(bad(|s| s.repeat_penalty = 0.0), "repeat_penalty");
        assert_eq!(bad(|s| s.repeat_penalty = f32::INFINITY), "repeat_penalty");
    }
}
