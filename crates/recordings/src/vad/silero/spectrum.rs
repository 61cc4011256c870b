use std::f64::consts::TAU;

use super::weights::{LANES, Lanes};
use super::{CONTEXT, WINDOW};

/// Samples of a spectrum.
const SAMPLES: usize = 256;
/// Samples from one spectrum to the next.
const STRIDE: usize = 128;
/// Values of a spectrum.
pub const BINS: usize = SAMPLES / 2 + 1;
/// Points of the complex transform that a real one of twice the length comes down to.
const POINTS: usize = SAMPLES / 2;
/// Samples that one window sees.
const SEEN: usize = CONTEXT + WINDOW;

/// Magnitudes of short stretches of sound. The published network does this by a convolution with
/// the same window and the same waves; a fast transform is ten times less work.
pub struct Spectrum {
    window: [f32; SAMPLES],
    /// Cosines and sines of the complex transform.
    turns: [(f32, f32); POINTS / 2],
    /// Those that take the real transform out of the complex one.
    halves: [(f32, f32); POINTS + 1],
    reversed: [usize; POINTS],
}

impl Spectrum {
    pub fn new() -> Self {
        let angle = |part: usize, of: usize| TAU * part as f64 / of as f64;
        let turn = |angle: f64| (angle.cos() as f32, -angle.sin() as f32);
        Self {
            window: std::array::from_fn(|n| (0.5 - 0.5 * angle(n, SAMPLES).cos()) as f32),
            turns: std::array::from_fn(|k| turn(angle(k, POINTS))),
            halves: std::array::from_fn(|k| turn(angle(k, SAMPLES))),
            reversed: std::array::from_fn(|n| n.reverse_bits() >> (usize::BITS - POINTS.ilog2())),
        }
    }

    /// The magnitudes of one of the frames of each of the windows in `samples`.
    pub fn frame(&self, samples: &[f32], frame: usize, real: &mut Vec<f32>, out: &mut [Lanes]) {
        let mut re = [[0.0; LANES]; POINTS];
        let mut im = [[0.0; LANES]; POINTS];
        for lane in 0..LANES {
            let seen = &samples[lane * WINDOW..][..SEEN];
            real.clear();
            let stretch = &seen[frame * STRIDE..(frame * STRIDE + SAMPLES).min(SEEN)];
            real.extend_from_slice(stretch);
            // Past its end the window is its own mirror image.
            real.extend(seen[SEEN - 1 - (SAMPLES - stretch.len())..SEEN - 1].iter().rev());
            for (point, (pair, window)) in
                real.chunks_exact(2).zip(self.window.chunks_exact(2)).enumerate()
            {
                re[self.reversed[point]][lane] = pair[0] * window[0];
                im[self.reversed[point]][lane] = pair[1] * window[1];
            }
        }
        self.transform(&mut re, &mut im);
        self.magnitudes(&re, &im, out);
    }

    /// In place, from bit-reversed order.
    fn transform(&self, re: &mut [Lanes; POINTS], im: &mut [Lanes; POINTS]) {
        let mut half = 1;
        while half < POINTS {
            let step = POINTS / (2 * half);
            for start in (0..POINTS).step_by(2 * half) {
                for k in 0..half {
                    let (cos, sin) = self.turns[k * step];
                    let (a, b) = (start + k, start + k + half);
                    for lane in 0..LANES {
                        let (x, y) = (re[b][lane], im[b][lane]);
                        let (x, y) = (x * cos - y * sin, x * sin + y * cos);
                        (re[b][lane], im[b][lane]) = (re[a][lane] - x, im[a][lane] - y);
                        re[a][lane] += x;
                        im[a][lane] += y;
                    }
                }
            }
            half *= 2;
        }
    }

    /// Those of the real transform, which is the complex one of even and odd samples unfolded.
    fn magnitudes(&self, re: &[Lanes; POINTS], im: &[Lanes; POINTS], out: &mut [Lanes]) {
        for (k, out) in out.iter_mut().enumerate().take(BINS) {
            let (cos, sin) = self.halves[k];
            let (a, b) = (k % POINTS, (POINTS - k) % POINTS);
            for lane in 0..LANES {
                let even = (0.5 * (re[a][lane] + re[b][lane]), 0.5 * (im[a][lane] - im[b][lane]));
                let odd = (0.5 * (im[a][lane] + im[b][lane]), 0.5 * (re[b][lane] - re[a][lane]));
                let x = even.0 + odd.0 * cos - odd.1 * sin;
                let y = even.1 + odd.0 * sin + odd.1 * cos;
                out[lane] = (x * x + y * y).sqrt();
            }
        }
    }
}
