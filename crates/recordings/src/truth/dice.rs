use std::f64::consts::TAU;

use dialtone_clock::{Rng, rng_for};
use rand::Rng as _;

/// The chance of one call.
pub struct Dice(Rng);

impl Dice {
    /// The stream that `parts` name under `seed`.
    pub fn new(seed: u64, parts: &[&str]) -> Self {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        Self(rng_for(seed, &parts))
    }

    /// From 0 to less than 1.
    fn unit(&mut self) -> f64 {
        // The upper 53 bits are what the mantissa holds.
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From `low` to less than `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True in this share of cases.
    pub fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// One of so many, from 0.
    pub fn below(&mut self, many: usize) -> usize {
        (self.unit() * many as f64) as usize
    }

    /// Normal with mean 0 and deviation 1.
    pub fn normal(&mut self) -> f64 {
        // 1 - unit is never 0, whose logarithm there is not.
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (TAU * self.unit()).cos()
    }
}
