use super::level::{FRAME_S, Histogram, Level, frames};

/// An echo is at most so late, in seconds.
const LATEST_S: f64 = 0.5;
/// The other side counts as speaking where it is within so many dB of its loud parts.
const LOUD_DB: f32 = 20.0;
/// An echo is at least so much weaker than what it is an echo of, in dB.
const WEAKER_DB: f32 = 8.0;
/// Frames that are looked at, of both sides, at most: minutes of speech tell as much as hours.
const LOOKED_AT: usize = 24_000;
/// Frames that are needed to tell.
const ENOUGH: usize = 400;
/// From this correlation of the two levels on it is an echo.
const ALIKE: f64 = 0.55;
/// How much louder than expected an echo may be, in dB.
const MARGIN_DB: f32 = 7.0;
/// It smears by so much, in seconds.
const SMEAR_S: f64 = 0.06;

/// How one channel leaks into the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Echo {
    /// How late, in frames.
    delay: usize,
    /// Its level against its source's, in dB; below zero.
    pub level_db: f32,
}

impl Echo {
    /// How late it is, in milliseconds.
    pub fn delay_ms(self) -> f64 {
        self.delay as f64 * FRAME_S * 1e3
    }

    /// Looks for the echo of `source` in `heard`.
    pub fn find(source: &[Level], heard: &[Level]) -> Option<Self> {
        let loud_db = Histogram::of(source.iter().copied()).quantile_db(0.9)? - LOUD_DB;
        let latest = frames(LATEST_S);
        let speaking = source.iter().enumerate().filter(|(_, level)| level.db() > loud_db);
        let speaking: Vec<usize> = speaking.map(|(frame, _)| frame).collect();
        let step = speaking.len().div_ceil(LOOKED_AT).max(1);
        let best = (0..=latest).filter_map(|delay| {
            let frames = speaking.iter().step_by(step);
            let pairs = frames.filter_map(|&frame| {
                let (from, to) = (source[frame].db(), heard.get(frame + delay)?.db());
                // What is nearly as loud is said there, and no echo; nothing is none either.
                (to < from - WEAKER_DB && to > Level::SILENCE.db()).then_some((from, to))
            });
            let (alike, count, weaker_db) = correlation(pairs);
            (count >= ENOUGH).then_some((alike, delay, weaker_db))
        });
        let (alike, delay, level_db) = best.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (alike >= ALIKE).then_some(Self { delay, level_db })
    }

    /// Which frames of `heard` are no more than the echo of `source`.
    pub fn mark(self, source: &[Level], heard: &[Level]) -> Vec<bool> {
        let smear = frames(SMEAR_S);
        let mut recent = Recent::new(smear);
        let mut frame = 0_usize;
        heard
            .iter()
            .map(|level| {
                // One frame ahead, since delays do not keep to frames.
                let ahead = (frame + 2).checked_sub(self.delay).and_then(|at| source.get(at));
                recent.push(frame, ahead.copied().unwrap_or(Level::SILENCE));
                frame += 1;
                level.db() < recent.largest().db() + self.level_db + MARGIN_DB
            })
            .collect()
    }
}

/// Of pairs of levels: their correlation, their count, the mean difference.
fn correlation(pairs: impl Iterator<Item = (f32, f32)>) -> (f64, usize, f32) {
    let (mut n, mut x, mut y, mut xx, mut yy, mut xy) = (0_usize, 0.0, 0.0, 0.0, 0.0, 0.0);
    for (a, b) in pairs {
        let (a, b) = (f64::from(a), f64::from(b));
        n += 1;
        x += a;
        y += b;
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
    let count = n.max(1) as f64;
    let spread = (xx - x * x / count) * (yy - y * y / count);
    let alike = if spread > 0.0 { (xy - x * y / count) / spread.sqrt() } else { 0.0 };
    (alike, n, ((y - x) / count) as f32)
}

/// The largest of the last few levels.
struct Recent {
    span: usize,
    /// Those that are larger than all after them, the largest first.
    kept: std::collections::VecDeque<(usize, Level)>,
}

impl Recent {
    fn new(span: usize) -> Self {
        Self { span, kept: std::collections::VecDeque::new() }
    }

    fn push(&mut self, at: usize, level: Level) {
        while self.kept.back().is_some_and(|(_, last)| *last <= level) {
            self.kept.pop_back();
        }
        self.kept.push_back((at, level));
        while self.kept.front().is_some_and(|(first, _)| first + self.span < at) {
            self.kept.pop_front();
        }
    }

    fn largest(&self) -> Level {
        self.kept.front().map_or(Level::SILENCE, |(_, level)| *level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Syllables of changing level, with silence between.
    fn speech(frames: usize, seed: u64) -> Vec<Level> {
        let mut state = seed;
        (0..frames)
            .map(|frame| {
                if frame % 12 == 0 {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                }
                let syllable = (state >> 33) as f32 / (1_u64 << 31) as f32;
                let active = (frame / 300) % 2 == 0;
                Level::of_db(if active { -45.0 + 25.0 * syllable } else { -85.0 })
            })
            .collect()
    }

    #[test]
    fn an_echo_is_found_and_marked() {
        let source = speech(6000, 7);
        let heard: Vec<Level> = (0..6000_usize)
            .map(|frame| {
                let late = frame.checked_sub(36).map_or(-90.0, |at| source[at].db() - 26.0);
                Level::of_db(late.max(-75.0))
            })
            .collect();
        let echo = Echo::find(&source, &heard).expect("an echo");
        assert!((echo.delay_ms() - 180.0).abs() < 11.0, "{echo:?}");
        assert!((echo.level_db + 26.0).abs() < 2.0, "{echo:?}");
        let marked = echo.mark(&source, &heard);
        let loud = (0..6000).filter(|frame| heard[*frame].db() > -70.0);
        assert!(loud.into_iter().all(|frame| marked[frame]));
        let own = vec![Level::of_db(-25.0); 6000];
        assert!(echo.mark(&source, &own).iter().all(|marked| !marked));
    }

    #[test]
    fn two_people_are_no_echo_of_each_other() {
        assert_eq!(Echo::find(&speech(6000, 1), &speech(6000, 2)), None);
        let hiss = vec![Level::of_db(-75.0); 6000];
        assert_eq!(Echo::find(&speech(6000, 1), &hiss), None);
        assert_eq!(Echo::find(&[], &[]), None);
    }
}
