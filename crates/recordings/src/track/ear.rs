use super::level::{Level, Meter, RATE};
use crate::findings::Track;
use crate::resample::Resampler;
use crate::vad::Gate;

/// From this magnitude on a sample counts as clipped.
const CLIPPED: f32 = 0.9995;

/// Listens to one channel. What it keeps is a byte for every 5 ms and one for every answer of the
/// gate.
pub struct Ear {
    narrow: Resampler,
    meter: Meter,
    gate: Box<dyn Gate>,
    /// Where the gate takes another rate than the levels are taken at.
    wide: Option<Resampler>,
    heard: Heard,
    peaks: Peaks,
    scratch: [Vec<f32>; 3],
}

/// What was heard.
#[derive(Default)]
pub struct Heard {
    /// The level of each frame.
    pub levels: Vec<Level>,
    /// How likely the gate thinks each of its frames is speech, of 255.
    pub speech: Vec<u8>,
    /// Length of the gate's frames, in seconds.
    pub answer_s: f64,
    /// Clipped samples.
    pub clipped: u64,
    /// All samples.
    pub samples: u64,
    /// The waveform.
    pub peaks: Vec<f32>,
}

impl Ear {
    /// For a channel with so many samples in a second.
    pub fn new(rate: u32, gate: Box<dyn Gate>) -> Self {
        let answer_s = gate.frame() as f64 / f64::from(gate.rate());
        Self {
            narrow: Resampler::new(rate, RATE),
            meter: Meter::new(),
            wide: (gate.rate() != RATE).then(|| Resampler::new(rate, gate.rate())),
            gate,
            heard: Heard { answer_s, ..Heard::default() },
            peaks: Peaks::new(),
            scratch: Default::default(),
        }
    }

    /// Takes the next samples.
    pub fn push(&mut self, samples: &[f32]) {
        self.heard.samples += samples.len() as u64;
        let clipped = samples.iter().filter(|sample| sample.abs() >= CLIPPED).count();
        self.heard.clipped += clipped as u64;
        self.peaks.push(samples);
        let [narrow, wide, _] = &mut self.scratch;
        narrow.clear();
        self.narrow.push(samples, narrow);
        if let Some(resampler) = &mut self.wide {
            wide.clear();
            resampler.push(samples, wide);
        }
        self.listen();
    }

    /// The end of the channel; what was heard in it.
    pub fn finish(mut self) -> Heard {
        let [narrow, wide, _] = &mut self.scratch;
        narrow.clear();
        self.narrow.finish(narrow);
        if let Some(resampler) = &mut self.wide {
            wide.clear();
            resampler.finish(wide);
        }
        self.listen();
        let [.., speech] = &mut self.scratch;
        speech.clear();
        self.gate.finish(speech);
        self.heard.speech.extend(speech.iter().copied().map(coded));
        self.heard.peaks = self.peaks.finish();
        self.heard
    }

    fn listen(&mut self) {
        let [narrow, wide, speech] = &mut self.scratch;
        self.meter.push(narrow, &mut self.heard.levels);
        speech.clear();
        self.gate.push(if self.wide.is_some() { wide } else { narrow }, speech);
        self.heard.speech.extend(speech.iter().copied().map(coded));
    }
}

fn coded(speech: f32) -> u8 {
    (speech * 255.0).round() as u8
}

/// The waveform in few points, however long it gets: when they are too many, two become one.
struct Peaks {
    points: Vec<f32>,
    /// Samples of a point.
    stretch: usize,
    /// Samples of the one that is not whole, and their largest.
    samples: usize,
    largest: f32,
}

impl Peaks {
    fn new() -> Self {
        Self { points: Vec::new(), stretch: 64, samples: 0, largest: 0.0 }
    }

    fn push(&mut self, mut samples: &[f32]) {
        while !samples.is_empty() {
            let take = samples.len().min(self.stretch - self.samples);
            let (now, rest) = samples.split_at(take);
            self.largest = now.iter().fold(self.largest, |most, sample| most.max(sample.abs()));
            self.samples += take;
            samples = rest;
            if self.samples == self.stretch {
                self.points.push(std::mem::take(&mut self.largest));
                self.samples = 0;
            }
            // One place is kept for the last point.
            if self.points.len() == Track::PEAKS_MAX - 1 && self.samples == 0 {
                self.halve();
            }
        }
    }

    fn halve(&mut self) {
        // The odd one out begins the next point.
        if self.points.len() % 2 == 1 {
            self.largest = self.points.pop().unwrap_or_default();
            self.samples = self.stretch;
        }
        let pairs = self.points.chunks_exact(2);
        self.points = pairs.map(|pair| pair[0].max(pair[1])).collect();
        self.stretch *= 2;
    }

    fn finish(mut self) -> Vec<f32> {
        if self.samples > 0 {
            self.points.push(self.largest);
        }
        self.points.iter_mut().for_each(|point| *point = point.min(1.0));
        self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waveform_keeps_its_peaks_in_few_points() {
        for length in [0, 1, 63, 64, 64 * 4095, 64 * 4095 + 1, 1_000_000] {
            let mut peaks = Peaks::new();
            let samples: Vec<f32> =
                (0..length).map(|n| if n == length / 3 { 0.9 } else { 0.1 }).collect();
            samples.chunks(1000).for_each(|piece| peaks.push(piece));
            let points = peaks.finish();
            assert!(points.len() <= Track::PEAKS_MAX, "{length}: {}", points.len());
            if length > 0 {
                let at = points.iter().position(|point| *point == 0.9).expect("the peak");
                let share = at as f64 / points.len() as f64;
                assert!((share - 1.0 / 3.0).abs() < 0.34 / points.len() as f64 + 0.01, "{share}");
            }
        }
    }
}
