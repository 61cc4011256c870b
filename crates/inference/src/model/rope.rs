//! Rotary position embedding: queries and keys turned by their position.

use super::config::Rope;
use super::simd::per_isa;

/// Sines and cosines for the rows of one step, made once for all layers and heads.
#[derive(Debug)]
pub struct Angles {
    /// Radians per position of each pair.
    rates: Vec<f64>,
    neox: bool,
    /// `[rows][pairs]`.
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Angles {
    /// For models of this kind; `factors` divides the rate of each pair (Llama 3).
    pub fn new(rope: &Rope, factors: Option<&[f32]>) -> Self {
        let pairs = rope.dims / 2;
        let rates = (0..pairs)
            .map(|i| {
                let rate = f64::from(rope.base).powf(-2.0 * i as f64 / rope.dims as f64);
                let factor = factors.and_then(|factors| factors.get(i)).copied().unwrap_or(1.0);
                rate / f64::from(factor) / f64::from(rope.scale)
            })
            .collect();
        Self { rates, neox: rope.neox, cos: Vec::new(), sin: Vec::new() }
    }

    /// Makes the angles of rows at these positions.
    pub fn set(&mut self, positions: impl Iterator<Item = usize>) {
        self.cos.clear();
        self.sin.clear();
        for position in positions {
            for rate in &self.rates {
                let (sin, cos) = (position as f64 * rate).sin_cos();
                self.cos.push(cos as f32);
                self.sin.push(sin as f32);
            }
        }
    }

    /// Turns all heads of all rows: `x` is `[rows][heads][head_dim]`.
    pub fn turn(&self, isa: crate::matrix::Isa, x: &mut [f32], heads: usize, head_dim: usize) {
        if self.neox {
            turn_halves(isa, x, &self.cos, &self.sin, self.rates.len(), heads * head_dim, head_dim);
        } else {
            turn_pairs(isa, x, &self.cos, &self.sin, self.rates.len(), heads * head_dim, head_dim);
        }
    }
}

per_isa! {
    fn turn_halves(
        x: &mut [f32],
        cos: &[f32],
        sin: &[f32],
        pairs: usize,
        width: usize,
        head_dim: usize,
    ) = halves
}

per_isa! {
    fn turn_pairs(
        x: &mut [f32],
        cos: &[f32],
        sin: &[f32],
        pairs: usize,
        width: usize,
        head_dim: usize,
    ) = neighbours
}

#[inline(always)]
fn halves<const W: usize>(
    x: &mut [f32],
    cos: &[f32],
    sin: &[f32],
    pairs: usize,
    width: usize,
    head_dim: usize,
) {
    let angles = cos.chunks_exact(pairs).zip(sin.chunks_exact(pairs));
    for (row, (cos, sin)) in x.chunks_exact_mut(width).zip(angles) {
        for head in row.chunks_exact_mut(head_dim) {
            let (a, rest) = head.split_at_mut(pairs);
            for ((a, b), (&cos, &sin)) in a.iter_mut().zip(rest).zip(cos.iter().zip(sin)) {
                (*a, *b) = turned(*a, *b, cos, sin);
            }
        }
    }
}

#[inline(always)]
fn neighbours<const W: usize>(
    x: &mut [f32],
    cos: &[f32],
    sin: &[f32],
    pairs: usize,
    width: usize,
    head_dim: usize,
) {
    let angles = cos.chunks_exact(pairs).zip(sin.chunks_exact(pairs));
    for (row, (cos, sin)) in x.chunks_exact_mut(width).zip(angles) {
        for head in row.chunks_exact_mut(head_dim) {
            let head = head.as_chunks_mut::<2>().0.iter_mut();
            for (pair, (&cos, &sin)) in head.zip(cos.iter().zip(sin)) {
                *pair = turned(pair[0], pair[1], cos, sin).into();
            }
        }
    }
}

#[inline(always)]
fn turned(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (a.mul_add(cos, -(b * sin)), a.mul_add(sin, b * cos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Isa;

    #[test]
    fn both_kinds_of_pairs_are_turned_by_the_same_angles() {
        let rope = Rope { dims: 4, base: 100.0, scale: 2.0, neox: false };
        // Two rows of two heads of 6 values, of which 4 are turned.
        let head = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let input: Vec<f32> = head.iter().copied().cycle().take(24).collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            for (neox, pairs) in [(false, [(0, 1), (2, 3)]), (true, [(0, 2), (1, 3)])] {
                let mut angles = Angles::new(&Rope { neox, ..rope }, Some(&[1.0, 4.0]));
                angles.set([0, 6].into_iter());
                let mut x = input.clone();
                angles.turn(isa, &mut x, 2, 6);
                assert_eq!(x[..12], input[..12], "position 0 is not turned");
                for (i, (a, b)) in pairs.into_iter().enumerate() {
                    let angle = [3.0f32, 3.0 * 0.1 / 4.0][i];
                    let turned = head[a] * angle.cos() - head[b] * angle.sin();
                    let other = head[a] * angle.sin() + head[b] * angle.cos();
                    for start in [12, 18] {
                        assert!((x[start + a] - turned).abs() < 1e-5);
                        assert!((x[start + b] - other).abs() < 1e-5);
                        assert_eq!(x[start + 4..start + 6], [5.0, 6.0]);
                    }
                }
            }
        }
    }
}
