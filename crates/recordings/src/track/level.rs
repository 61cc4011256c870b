use std::f64::consts::{FRAC_1_SQRT_2, TAU};

/// Rate at which levels are taken: all of the telephone's band.
pub const RATE: u32 = 8_000;
/// Samples of a frame.
const FRAME: usize = 40;
/// Length of a frame, in seconds.
pub const FRAME_S: f64 = FRAME as f64 / RATE as f64;
/// The lowest level, in dB of full scale; silence has it.
const LOWEST: f32 = -110.0;
/// Steps of a dB.
const STEPS: f32 = 2.0;
/// Below this there is hum and no speech, in Hz.
const HIGH_PASS: f64 = 90.0;

/// So many seconds in frames.
pub const fn frames(seconds: f64) -> usize {
    (seconds / FRAME_S + 0.5) as usize
}

/// The level of one frame in one byte, so that hours of them are megabytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u8);

impl Level {
    /// The level of silence.
    pub const SILENCE: Self = Self(0);

    /// Of a mean power, in which 1 is that of full scale.
    fn of_power(power: f32) -> Self {
        let db = 10.0 * power.max(1e-12).log10();
        // The conversion saturates at both ends.
        Self(((db - LOWEST) * STEPS).round() as u8)
    }

    /// The nearest to so many dB of full scale.
    #[cfg(test)]
    pub fn of_db(db: f32) -> Self {
        Self(((db - LOWEST) * STEPS).round() as u8)
    }

    /// In dB of full scale.
    pub fn db(self) -> f32 {
        f32::from(self.0) / STEPS + LOWEST
    }

    /// Its number of all levels, for counting them.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The level of that number.
    pub fn at(index: usize) -> Self {
        Self(u8::try_from(index).unwrap_or(u8::MAX))
    }
}

/// How many frames have which level.
pub struct Histogram {
    counts: [u32; 256],
    all: u32,
}

impl Histogram {
    pub fn new() -> Self {
        Self { counts: [0; 256], all: 0 }
    }

    pub fn of(levels: impl IntoIterator<Item = Level>) -> Self {
        let mut histogram = Self::new();
        levels.into_iter().for_each(|level| histogram.add(level));
        histogram
    }

    pub fn add(&mut self, level: Level) {
        self.counts[level.index()] += 1;
        self.all += 1;
    }

    pub fn count(&self) -> u32 {
        self.all
    }

    /// The level that this share of the frames does not exceed, in dB.
    pub fn quantile_db(&self, share: f64) -> Option<f32> {
        let rank = (share * f64::from(self.all.checked_sub(1)?)).round() as u32;
        let mut seen = 0;
        let index = self.counts.iter().position(|count| {
            seen += count;
            seen > rank
        });
        index.map(|index| Level::at(index).db())
    }
}

/// Takes the level of a channel that comes in pieces.
pub struct Meter {
    /// Coefficients of the high pass, and what it remembers.
    feed: [f32; 3],
    back: [f32; 2],
    memory: [f32; 2],
    power: f32,
    samples: usize,
}

impl Meter {
    pub fn new() -> Self {
        let turn = TAU * HIGH_PASS / f64::from(RATE);
        let alpha = turn.sin() * FRAC_1_SQRT_2;
        let scale = 1.0 + alpha;
        let side = (1.0 + turn.cos()) / 2.0 / scale;
        let feed = [side, -2.0 * side, side].map(|value| value as f32);
        let back = [-2.0 * turn.cos() / scale, (1.0 - alpha) / scale].map(|value| value as f32);
        Self { feed, back, memory: [0.0; 2], power: 0.0, samples: 0 }
    }

    /// Takes samples at [`RATE`]; appends the levels of the frames that are now whole.
    pub fn push(&mut self, samples: &[f32], levels: &mut Vec<Level>) {
        let [mut first, mut second] = self.memory;
        for sample in samples {
            let passed = self.feed[0] * sample + first;
            first = self.feed[1] * sample - self.back[0] * passed + second;
            second = self.feed[2] * sample - self.back[1] * passed;
            self.power += passed * passed;
            self.samples += 1;
            if self.samples == FRAME {
                levels.push(Level::of_power(self.power / FRAME as f32));
                (self.power, self.samples) = (0.0, 0);
            }
        }
        // Numbers too small to be sound would slow the filter down.
        self.memory = [first, second].map(|value| if value.abs() < 1e-20 { 0.0 } else { value });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_what_was_heard_and_hum_is_not() {
        let tone = |hertz: f64| -> Vec<f32> {
            (0..8000)
                .map(|n| (0.1 * (TAU * hertz * f64::from(n) / f64::from(RATE)).sin()) as f32)
                .collect()
        };
        let level = |samples: &[f32]| {
            let (mut meter, mut levels) = (Meter::new(), Vec::new());
            samples.chunks(333).for_each(|piece| meter.push(piece, &mut levels));
            assert_eq!(levels.len(), samples.len() / FRAME);
            Histogram::of(levels).quantile_db(0.5).expect("frames")
        };
        // A sine of 0.1 has a power of 0.005, which is -23 dB.
        assert!((level(&tone(1000.0)) + 23.0).abs() < 0.6, "{}", level(&tone(1000.0)));
        assert!(level(&tone(25.0)) < -38.0, "{}", level(&tone(25.0)));
        assert_eq!(level(&[0.0; 800]), LOWEST);
        assert_eq!(Level::of_power(1e9).db(), 17.5);
    }

    #[test]
    fn quantiles() {
        let histogram = Histogram::of([-60.0, -50.0, -20.0].map(Level::of_db));
        assert_eq!(histogram.quantile_db(0.5), Some(-50.0));
        assert_eq!(histogram.quantile_db(1.0), Some(-20.0));
        assert_eq!(Histogram::new().quantile_db(0.5), None);
    }
}
