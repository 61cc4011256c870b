//! How the next token is chosen from logits.

use serde::{Deserialize, Serialize};

/// How to choose. The defaults are greedy: the same answer every time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// 0 takes the most likely token; else logits are divided by it.
    pub temperature: f32,
    /// Only the `top_k` most likely tokens; 0 = all.
    pub top_k: usize,
    /// Only the most likely tokens whose probabilities add up to `top_p`; 1 = all.
    pub top_p: f32,
    /// Only tokens at least `min_p` times as likely as the most likely one; 0 = all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens that came among the last
    /// `repeat_last`; 1 = none.
    pub repeat_penalty: f32,
    /// How far back `repeat_penalty` looks, in tokens.
    pub repeat_last: usize,
    /// Seed of the draw. The same seed, prompt and settings give the same answer.
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
