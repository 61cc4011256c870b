use std::ops::Range;

use super::ear::Heard;
use super::level::{FRAME_S, Histogram, Level, frames};
use super::regions::regions;
use crate::Segment;

/// So far below its loud parts speech counts as over, in dB.
const DEPTH_DB: f32 = 35.0;
/// Speech stands out of the noise by at least so much, in dB.
const MARGIN_DB: f32 = 4.0;
/// Noise is taken from so much silence on each side, in seconds.
const NOISE_S: f64 = 1.0;
/// How far an edge may lie outside of what the gate says, in seconds.
const REACH_S: f64 = 0.15;
/// Speech goes on over a gap of this length, in seconds ..
const CLOSURE_S: f64 = 0.06;
/// .. and inside of what the gate says over this one.
const PAUSE_S: f64 = 0.25;
/// What is shorter is no speech, in seconds.
const SHORTEST_S: f64 = 0.05;
/// Of an edge's first frames so many are loud, that one spike is none.
const SPIKE: (usize, usize) = (3, 4);
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
}

/// The speech of a channel. `echo` says which frames are the other channel's.
pub fn sounds(heard: &Heard, echo: &[bool]) -> Vec<Sound> {
    let regions = regions(heard, echo);
    let quiet = quiet(heard.levels.len(), &regions, echo);
    let all = Histogram::of(
        heard.levels.iter().zip(&quiet).filter(|(_, quiet)| **quiet).map(|(level, _)| *level),
    );
    let mut found: Vec<Sound> = Vec::new();
    for (n, region) in regions.iter().enumerate() {
        let noise = noise_around(&heard.levels, &quiet, region).or(noise_of(&all, 20));
        let noise = noise.unwrap_or(Noise { usual_db: QUIETEST_DB, high_db: QUIETEST_DB });
        let before = n.checked_sub(1).map_or(0, |n| regions[n].end);
        let after = regions.get(n + 1).map_or(heard.levels.len(), |next| next.start);
        let reach = region.start.saturating_sub(frames(REACH_S)).max(before)
            ..(region.end + frames(REACH_S)).min(after);
        refine(heard, echo, region, &reach, noise, &mut found);
    }
    found
}

/// Frames in which nobody is heard.
fn quiet(length: usize, regions: &[Range<usize>], echo: &[bool]) -> Vec<bool> {
    let mut quiet = vec![true; length];
    for region in regions {
        let from = region.start.saturating_sub(frames(REACH_S));
        let to = (region.end + frames(REACH_S)).min(length);
        quiet[from..to].fill(false);
    }
    quiet.iter_mut().zip(echo).for_each(|(quiet, echo)| *quiet &= !echo);
    quiet
}

/// The noise in the silence next to a region, on both sides.
fn noise_around(levels: &[Level], quiet: &[bool], region: &Range<usize>) -> Option<Noise> {
    let far = frames(4.0 * NOISE_S);
    let near = frames(NOISE_S);
    let level = |frame: usize| quiet[frame].then(|| levels[frame]);
    let before = (region.start.saturating_sub(far)..region.start).rev().filter_map(level);
    let after = (region.end..(region.end + far).min(levels.len())).filter_map(level);
    noise_of(&Histogram::of(before.take(near).chain(after.take(near))), frames(0.1) as u32)
}

/// The noise that these levels are, if they are enough to tell.
fn noise_of(levels: &Histogram, enough: u32) -> Option<Noise> {
    if levels.count() < enough {
        return None;
    }
    let usual_db = levels.quantile_db(0.5)?.max(QUIETEST_DB);
    // What is far above the rest is a click, or speech that the gate did not hear.
    let high_db = levels.quantile_db(0.9)?.clamp(usual_db, usual_db + 6.0);
    Some(Noise { usual_db, high_db })
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
    let threshold_db = (level_db - DEPTH_DB).max(noise.high_db + MARGIN_DB);
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
        let to = (piece.start + SPIKE.1).min(reach.end);
        (piece.start..to).filter(|frame| loud(*frame)).count() < SPIKE.0.min(to - piece.start)
    };
    // From the part that the gate hears outwards, as far as the gaps are those within words.
    let within = |piece: &Range<usize>| piece.end > region.start && piece.start < region.end;
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for piece in pieces.iter().filter(|piece| !spike(piece)) {
        let gap = if within(piece) { PAUSE_S } else { CLOSURE_S };
        match stretches.last_mut() {
            Some(last) if piece.start < last.end + frames(gap) => last.end = piece.end,
            _ => stretches.push(piece.clone()),
        }
    }
    for stretch in stretches.into_iter().filter(within) {
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
