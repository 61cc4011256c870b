use std::f64::consts::PI;

/// Zero crossings of the filter on each side, at the lower of the two rates.
const CROSSINGS: usize = 16;
/// Shape of its window: side lobes are 70 dB down.
const BETA: f64 = 7.0;
/// Products that are summed side by side.
const LANES: usize = 8;

/// Changes the rate of a channel that comes in pieces. Sample `n` of the output is what the input
/// is at the time of sample `n` of the output: the filter's delay is taken out.
pub struct Resampler {
    /// Input samples of `step_out` output samples, in lowest terms.
    step_in: usize,
    step_out: usize,
    /// Samples on each side of the middle of the filter.
    half: usize,
    /// The filter at each place between two input samples that occurs.
    phases: Vec<Vec<f32>>,
    /// Input that is still needed; its first sample is `start - half` of the input.
    pending: Vec<f32>,
    start: usize,
    /// Of the next output sample, in units of 1/`step_out` of an input sample past `start`.
    at: usize,
    /// Input and output samples so far.
    taken: u64,
    given: u64,
}

impl Resampler {
    /// From one rate to another, both above zero.
    pub fn new(from: u32, to: u32) -> Self {
        let shared = gcd(from, to);
        let (step_in, step_out) = ((from / shared) as usize, (to / shared) as usize);
        // Below the lower of the two Nyquist frequencies nothing folds back.
        let cutoff = (f64::from(to) / f64::from(from)).min(1.0);
        let half =
            if step_in == step_out { 0 } else { (CROSSINGS as f64 / cutoff).ceil() as usize };
        let phases = (0..step_out).map(|phase| filter(phase, step_out, half, cutoff)).collect();
        let pending = vec![0.0; half];
        Self { step_in, step_out, half, phases, pending, start: 0, at: 0, taken: 0, given: 0 }
    }

    /// Takes the next samples; appends those that can be told now.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.taken += samples.len() as u64;
        if self.half == 0 {
            self.given += samples.len() as u64;
            return out.extend_from_slice(samples);
        }
        self.pending.extend_from_slice(samples);
        let taps = self.phases[0].len();
        loop {
            let first = self.at / self.step_out;
            let Some(seen) = self.pending.get(first..first + taps) else { break };
            out.push(dot(seen, &self.phases[self.at % self.step_out]));
            self.given += 1;
            self.at += self.step_in;
        }
        let done = (self.at / self.step_out).min(self.pending.len());
        self.pending.drain(..done);
        self.start += done;
        self.at -= done * self.step_out;
    }

    /// Appends the rest, as if silence followed, so that the output is as long as the input.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        let due = (self.taken * self.step_out as u64).div_ceil(self.step_in as u64);
        let (taken, before) = (self.taken, out.len() as u64);
        let left = due.saturating_sub(self.given);
        if self.half > 0 {
            let silence = vec![0.0; self.phases[0].len() + self.step_in];
            self.push(&silence, out);
        }
        out.truncate((before + left) as usize);
        self.taken = taken;
    }
}

/// The filter for output samples that lie `phase` of `phases` behind an input sample.
fn filter(phase: usize, phases: usize, half: usize, cutoff: f64) -> Vec<f32> {
    if half == 0 {
        return Vec::new();
    }
    let offset = phase as f64 / phases as f64;
    let tap = |tap: usize| {
        let away = tap as f64 - half as f64 - offset;
        let edge = away / (half as f64 + 1.0);
        let window = bessel(BETA * (1.0 - edge * edge).max(0.0).sqrt()) / bessel(BETA);
        sinc(away * cutoff) * cutoff * window
    };
    let mut taps: Vec<f64> = (0..=2 * half + 1).map(tap).collect();
    // A constant stays what it is, to the last bit of its level.
    let sum: f64 = taps.iter().sum();
    taps.iter_mut().for_each(|tap| *tap /= sum);
    let mut taps: Vec<f32> = taps.into_iter().map(|tap| tap as f32).collect();
    taps.resize(taps.len().next_multiple_of(LANES), 0.0);
    taps
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// The modified Bessel function of order zero.
fn bessel(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..40 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resampled(from: u32, to: u32, input: &[f32], piece: usize) -> Vec<f32> {
        let (mut resampler, mut out) = (Resampler::new(from, to), Vec::new());
        input.chunks(piece).for_each(|piece| resampler.push(piece, &mut out));
        resampler.finish(&mut out);
        out
    }

    fn tone(rate: u32, hertz: f64, seconds: f64) -> Vec<f32> {
        let samples = (f64::from(rate) * seconds) as usize;
        (0..samples).map(|n| (2.0 * PI * hertz * n as f64 / f64::from(rate)).sin() as f32).collect()
    }

    #[test]
    fn a_tone_stays_the_tone_at_its_time() {
        for (from, to) in
            [(8000, 16000), (44100, 16000), (48000, 8000), (11025, 8000), (8000, 8000)]
        {
            let out = resampled(from, to, &tone(from, 1000.0, 0.5), 1000);
            let right = tone(to, 1000.0, 0.5);
            assert!(out.len().abs_diff(right.len()) <= 1, "{from} to {to}: {}", out.len());
            // Away from both ends, where the tone begins and ends suddenly.
            let middle = right.len() / 4..right.len() * 3 / 4;
            let worst = middle.map(|n| (out[n] - right[n]).abs()).fold(0.0, f32::max);
            assert!(worst < 2e-3, "{from} to {to}: off by {worst}");
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone() {
        let out = resampled(48000, 8000, &tone(48000, 6000.0, 0.5), 4096);
        let worst = out[400..3600].iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        assert!(worst < 2e-3, "{worst}");
    }

    #[test]
    fn pieces_change_no_bit() {
        let input = tone(44100, 440.0, 0.3);
        let whole = resampled(44100, 8000, &input, input.len());
        for piece in [1, 7, 160, 4001] {
            assert_eq!(resampled(44100, 8000, &input, piece), whole, "pieces of {piece}");
        }
    }
}
