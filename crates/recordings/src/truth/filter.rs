//! What a telephone line does to a voice.

use std::f64::consts::TAU;

use super::RATE;

/// The band of a telephone, Hz.
const BAND: (f64, f64) = (300.0, 3_400.0);

/// A second-order section, direct form I.
struct Section {
    b: [f64; 3],
    a: [f64; 2],
    x: [f64; 2],
    y: [f64; 2],
}

impl Section {
    /// A Butterworth low pass, or with `high` a high pass, with its corner there.
    fn new(corner: f64, high: bool) -> Self {
        let w = TAU * corner / f64::from(RATE);
        let (sin, cos) = w.sin_cos();
        // Q of a Butterworth filter of order two.
        let alpha = sin / std::f64::consts::SQRT_2;
        let a0 = 1.0 + alpha;
        let middle = if high { -(1.0 + cos) } else { 1.0 - cos };
        let outer = middle.abs() / 2.0;
        Self {
            b: [outer / a0, middle / a0, outer / a0],
            a: [-2.0 * cos / a0, (1.0 - alpha) / a0],
            x: [0.0; 2],
            y: [0.0; 2],
        }
    }

    fn step(&mut self, x: f64) -> f64 {
        let [b0, b1, b2] = self.b;
        let ([a1, a2], [x1, x2], [y1, y2]) = (self.a, self.x, self.y);
        let y = b0 * x + b1 * x1 + b2 * x2 - a1 * y1 - a2 * y2;
        self.x = [x, x1];
        self.y = [y, y1];
        y
    }
}

/// Leaves the band of a telephone.
pub fn telephone(samples: &mut [f32]) {
    let mut sections = [Section::new(BAND.0, true), Section::new(BAND.1, false)];
    for sample in samples {
        let passed = sections.iter_mut().fold(f64::from(*sample), |x, section| section.step(x));
        *sample = passed as f32;
    }
}

/// Through G.711 mu-law and back.
pub fn mu_law(samples: &mut [f32]) {
    for sample in samples {
        *sample = from_mu_law(to_mu_law(*sample));
    }
}

/// What is added to a magnitude before its segment is found.
const BIAS: i32 = 0x84;
/// The largest magnitude of 14 bits, shifted to 16.
const CLIP: i32 = 32_635;

fn to_mu_law(sample: f32) -> u8 {
    let linear = (sample * 32_768.0).round() as i32;
    let magnitude = linear.abs().min(CLIP) + BIAS;
    let sign = if linear < 0 { 0x80 } else { 0 };
    // The segment is where the highest bit stands, from bit 7 on.
    let segment = (24 - magnitude.leading_zeros() as i32).clamp(0, 7);
    let step = (magnitude >> (segment + 3)) & 0x0f;
    !(sign | (segment << 4) | step) as u8
}

/// A value of G.711 mu-law, from -1 to 1.
pub fn from_mu_law(byte: u8) -> f32 {
    let byte = i32::from(!byte);
    let magnitude = (((byte & 0x0f) << 3) + BIAS) << ((byte & 0x70) >> 4);
    let linear = magnitude - BIAS;
    (if byte & 0x80 == 0 { linear } else { -linear }) as f32 / 32_768.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_mu_law_is_its_own_answer() {
        for code in 0..=u8::MAX {
            let back = to_mu_law(from_mu_law(code));
            // There are two codes for nothing.
            assert!(back == code || from_mu_law(code) == 0.0, "{code:#x} {back:#x}");
        }
    }

    #[test]
    fn tones_outside_the_band_are_weaker() {
        let level = |hz: f64| {
            let step = TAU * hz / f64::from(RATE);
            let mut tone: Vec<f32> =
                (0..8_000).map(|n| (step * f64::from(n)).sin() as f32).collect();
            telephone(&mut tone);
            super::super::noise::rms(&tone[1_000..]) * std::f64::consts::SQRT_2
        };
        assert!(level(60.0) < 0.06, "{}", level(60.0));
        assert!(level(1_000.0) > 0.98, "{}", level(1_000.0));
    }
}
