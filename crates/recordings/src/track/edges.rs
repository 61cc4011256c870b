use std::ops::Range;

use super::ear::Heard;
use super::level::{FRAME_S, Histogram, Level, frames};
use crate::Segment;

/// So far below its loud parts speech counts as over, in dB.
const DEPTH_DB: f32 = 38.0;
/// Speech stands out of the noise by at least so much, in dB ..
const MARGIN_DB: f32 = 2.5;
/// .. and by this, where the noise itself is speech or music.
const MARGIN_BUSY_DB: f32 = 5.0;
/// Where it stands out by this, what is loud for a moment belongs to it, in dB.
const CLEAR_DB: f32 = 8.0;
/// The end of a word falls by a dB in so many seconds, on the whole: by so much the end lies behind
/// the place where noise begins to hide it. A beginning is too steep to be hidden.
const HIDDEN_S: f64 = 0.002;
/// Noise is taken from so much silence on each side, in seconds.
const NOISE_S: f64 = 1.0;
/// How far an edge may lie outside of what the gate says, in seconds.
const REACH_S: f64 = 0.15;
/// A beginning may lie further outside: gates do not hear the "th" of "thirty", in seconds.
const ONSET_S: f64 = 0.24;
/// Outside of what the gate says, speech goes on over a gap of this length, in seconds: that of
/// the closure of a "t" ..
const CLOSURE_S: f64 = 0.09;
/// .. or of this one, where noise is nearly as loud ..
const CLOSURE_NOISY_S: f64 = 0.06;
/// .. and inside over this one.
const PAUSE_S: f64 = 0.25;
/// What is shorter is no speech, in seconds.
const SHORTEST_S: f64 = 0.05;
/// Of an edge's first frames so many are loud, that one spike is none.
const SPIKE: (usize, usize) = (3, 4);
/// Below this share of silence while the other side speaks, a side is never quiet.
const BUSY: f64 = 0.4;
/// So much speech of the other side is needed to tell, in seconds.
const ENOUGH_S: f64 = 4.0;
/// Frames of silence that are needed to tell what the noise is.
const TELLING: u32 = 20;
/// The least that noise is taken to be, in dB of full scale.
const QUIETEST_DB: f32 = -80.0;

/// A stretch of speech, in frames, and how it stands out.
#[derive(Clone, Debug)]
pub struct Sound {
    /// Where it is.
    pub frames: Range<usize>,
    /// Level of its loud parts, in dB of full scale.
    pub level_db: f32,
    /// Level of the noise around it.
    pub noise_db: f32,
    /// How sure the gate is of it, from 0 to 1.
    pub gate: f32,
}

impl Sound {
    /// From the start of the recording.
    pub fn segment(&self) -> Segment {
        let s = |frame: usize| frame as f64 * FRAME_S;
        Segment::new(s(self.frames.start), s(self.frames.end))
    }

    /// By how much it stands out of the noise, in dB.
    pub fn snr_db(&self) -> f32 {
        self.level_db - self.noise_db
    }
}

/// The noise around a stretch.
#[derive(Clone, Copy)]
struct Noise {
    /// Its usual level.
    usual_db: f32,
    /// What it seldom exceeds.
    high_db: f32,
    /// By how much speech exceeds that.
    margin_db: f32,
}

/// The speech of a channel. `echo` says which frames are the other channel's, `others` where the
/// other channel's speech is.
pub fn sounds(
    heard: &Heard,
    echo: &[bool],
    regions: &[Range<usize>],
    others: &[Range<usize>],
) -> Vec<Sound> {
    let (quiet, margin_db) = quiet(heard.levels.len(), regions, others, echo);
    let all = Histogram::of(
        heard.levels.iter().zip(&quiet).filter(|(_, quiet)| **quiet).map(|(level, _)| *level),
    );
    let mut found: Vec<Sound> = Vec::new();
    for (n, region) in regions.iter().enumerate() {
        let around = levels_around(&heard.levels, &quiet, region);
        let noise = Noise::of(&around, margin_db).or_else(|| Noise::of(&all, margin_db));
        let noise = noise.unwrap_or(Noise::NONE);
        let before = n.checked_sub(1).map_or(0, |n| regions[n].end);
        let after = regions.get(n + 1).map_or(heard.levels.len(), |next| next.start);
        let reach = region.start.saturating_sub(frames(ONSET_S)).max(before)
            ..(region.end + frames(REACH_S)).min(after);
        refine(heard, echo, region, &reach, noise, &mut found);
    }
    found
}

/// Frames in which this side is not heard. Where the gate hears speech nearly all the time that
/// the other side speaks, there is somebody in the background, or music: then it is those frames
/// that tell what the background is like. And by how much speech stands out of it.
fn quiet(
    length: usize,
    regions: &[Range<usize>],
    others: &[Range<usize>],
    echo: &[bool],
) -> (Vec<bool>, f32) {
    let mut quiet = vec![true; length];
    for region in regions {
        let from = region.start.saturating_sub(frames(REACH_S));
        let to = (region.end + frames(REACH_S)).min(length);
        quiet[from..to].fill(false);
    }
    let mut listening = vec![false; length];
    for region in others {
        listening[region.start.min(length)..region.end.min(length)].fill(true);
    }
    let all = listening.iter().filter(|listening| **listening).count();
    // Where the other side's echo is all there is, this side is still.
    let echoes = |frame: usize| echo.get(frame).copied().unwrap_or(false);
    let still = (0..length).filter(|n| listening[*n] && (quiet[*n] || echoes(*n))).count();
    if all >= frames(ENOUGH_S) && (still as f64) < all as f64 * BUSY {
        listening.iter_mut().zip(echo).for_each(|(listening, echo)| *listening &= !echo);
        return (listening, MARGIN_BUSY_DB);
    }
    quiet.iter_mut().zip(echo).for_each(|(quiet, echo)| *quiet &= !echo);
    (quiet, MARGIN_DB)
}

/// Levels of the silence next to a region, on both sides.
fn levels_around(levels: &[Level], quiet: &[bool], region: &Range<usize>) -> Histogram {
    let far = frames(4.0 * NOISE_S);
    let near = frames(NOISE_S);
    let level = |frame: usize| quiet[frame].then(|| levels[frame]);
    let before = (region.start.saturating_sub(far)..region.start).rev().filter_map(level);
    let after = (region.end..(region.end + far).min(levels.len())).filter_map(level);
    Histogram::of(before.take(near).chain(after.take(near)))
}

impl Noise {
    /// What is taken for noise where there is no silence to tell.
    const NONE: Self = Self { usual_db: QUIETEST_DB, high_db: QUIETEST_DB, margin_db: MARGIN_DB };

    /// The noise that these levels are, if they are enough to tell.
    fn of(levels: &Histogram, margin_db: f32) -> Option<Self> {
        if levels.count() < TELLING {
            return None;
        }
        let usual_db = levels.quantile_db(0.5)?.max(QUIETEST_DB);
        // What is far above the rest is a click, or speech that the gate did not hear.
        let high_db = levels.quantile_db(0.9)?.clamp(usual_db, usual_db + 6.0);
        Some(Self { usual_db, high_db, margin_db })
    }
}

/// The stretches of speech that a region comes down to.
fn refine(
    heard: &Heard,
    echo: &[bool],
    region: &Range<usize>,
    reach: &Range<usize>,
    noise: Noise,
    found: &mut Vec<Sound>,
) {
    let levels = &heard.levels;
    let own = |frame: &usize| !echo.get(*frame).copied().unwrap_or(false);
    let inside = Histogram::of(region.clone().filter(own).map(|frame| levels[frame]));
    let Some(level_db) = inside.quantile_db(0.95) else { return };
    let threshold_db = (level_db - DEPTH_DB).max(noise.high_db + noise.margin_db);
    let clear = threshold_db > noise.high_db + CLEAR_DB;
    let loud = |frame: usize| levels[frame].db() > threshold_db && own(&frame);
    let mut pieces: Vec<Range<usize>> = Vec::new();
    let mut frame = reach.start;
    while frame < reach.end {
        if !loud(frame) {
            frame += 1;
            continue;
        }
        let start = frame;
        while frame < reach.end && loud(frame) {
            frame += 1;
        }
        pieces.push(start..frame);
    }
    let spike = |piece: &Range<usize>| {
        if clear {
            return false;
        }
        let to = (piece.start + SPIKE.1).min(reach.end);
        (piece.start..to).filter(|frame| loud(*frame)).count() < SPIKE.0.min(to - piece.start)
    };
    // From the part that the gate hears outwards, as far as the gaps are those within words.
    let within = |piece: &Range<usize>| piece.end > region.start && piece.start < region.end;
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for piece in pieces.iter().filter(|piece| !spike(piece)) {
        let gap = match (within(piece), clear) {
            (true, _) => PAUSE_S,
            (false, true) => CLOSURE_S,
            (false, false) => CLOSURE_NOISY_S,
        };
        match stretches.last_mut() {
            Some(last) if piece.start < last.end + frames(gap) => last.end = piece.end,
            _ => stretches.push(piece.clone()),
        }
    }
    let hidden_s = f64::from(threshold_db - (level_db - DEPTH_DB)) * HIDDEN_S;
    for mut stretch in stretches.into_iter().filter(within) {
        stretch.end = (stretch.end + frames(hidden_s)).min(levels.len());
        if stretch.len() < frames(SHORTEST_S) {
            continue;
        }
        let inside = Histogram::of(stretch.clone().map(|frame| levels[frame]));
        let level_db = inside.quantile_db(0.95).unwrap_or(level_db);
        let gate = mean_gate(heard, &stretch);
        found.push(Sound { frames: stretch, level_db, noise_db: noise.usual_db, gate });
    }
}

/// How sure the gate is of a stretch on the whole.
fn mean_gate(heard: &Heard, stretch: &Range<usize>) -> f32 {
    let answer = |frame: usize| (frame as f64 * FRAME_S / heard.answer_s) as usize;
    let to = (answer(stretch.end) + 1).min(heard.speech.len());
    let answers = heard.speech.get(answer(stretch.start)..to).unwrap_or_default();
    let sum: u32 = answers.iter().map(|speech| u32::from(*speech)).sum();
    sum as f32 / 255.0 / answers.len().max(1) as f32
}
