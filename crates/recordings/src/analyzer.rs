use crate::dialogue::{Dialogue, dialogue};
use crate::findings::{Findings, Track, Warning};
use crate::track::{Ear, Echo, FRAME_S, Heard, Sound, regions, sounds};
use crate::{CallerChannel, Options, Segment, Side, Stereo};

/// Both channels carry the same if what differs is this much weaker than what does not.
const MONO: f64 = 1e-4;
/// More clipped samples than this are worth a warning, in percent.
const CLIPPED_PERCENT: f64 = 0.05;

/// The findings of a whole recording.
pub fn analyze(stereo: &Stereo, options: &Options) -> Findings {
    let mut analyzer = Analyzer::new(stereo.rate, options);
    analyzer.push(&stereo.left, &stereo.right);
    analyzer.finish()
}

/// Listens to a recording piece by piece; what it keeps of it is a few bytes for every 5 ms.
pub struct Analyzer {
    rate: u32,
    options: Options,
    left: Ear,
    right: Ear,
    /// Power of both channels, and of their difference.
    power: f64,
    difference: f64,
    samples: u64,
}

impl Analyzer {
    /// For a recording with so many samples of one channel in a second.
    pub fn new(rate: u32, options: &Options) -> Self {
        let rate = rate.max(1);
        let ear = || Ear::new(rate, options.gate.gate());
        Self {
            rate,
            options: *options,
            left: ear(),
            right: ear(),
            power: 0.0,
            difference: 0.0,
            samples: 0,
        }
    }

    /// Takes the next samples of both channels, as many of the one as of the other; what the
    /// longer one has more is left out.
    pub fn push(&mut self, left: &[f32], right: &[f32]) {
        let length = left.len().min(right.len());
        let (left, right) = (&left[..length], &right[..length]);
        self.samples += length as u64;
        for (left, right) in left.iter().zip(right) {
            self.power += f64::from(left * left + right * right);
            self.difference += f64::from((left - right) * (left - right));
        }
        // In turns, so that the samples stay where the processor has them at hand.
        for (left, right) in left.chunks(1 << 14).zip(right.chunks(1 << 14)) {
            self.left.push(left);
            self.right.push(right);
        }
    }

    /// The end of the recording; what was found in it.
    pub fn finish(self) -> Findings {
        let Self { rate, options, left, right, power, difference, samples } = self;
        let (left, right) = (left.finish(), right.finish());
        let leaks =
            [Echo::find(&right.levels, &left.levels), Echo::find(&left.levels, &right.levels)];
        let echo = |own: &Heard, other: &Heard, leak: Option<Echo>| {
            leak.map_or(Vec::new(), |leak| leak.mark(&other.levels, &own.levels))
        };
        let echoes = [echo(&left, &right, leaks[0]), echo(&right, &left, leaks[1])];
        let spoken = [regions(&left, &echoes[0]), regions(&right, &echoes[1])];
        let sounds = [
            sounds(&left, &echoes[0], &spoken[0], &spoken[1]),
            sounds(&right, &echoes[1], &spoken[1], &spoken[0]),
        ];
        let duration_s = samples as f64 / f64::from(rate);
        let mono = power > 0.0 && difference < power * MONO;
        Self::told(&options, rate, duration_s, [left, right], &sounds, leaks, mono)
    }

    fn told(
        options: &Options,
        rate: u32,
        duration_s: f64,
        heard: [Heard; 2],
        sounds: &[Vec<Sound>; 2],
        leaks: [Option<Echo>; 2],
        mono: bool,
    ) -> Findings {
        let suggested = suggested(&sounds[0], &sounds[1]);
        let side = match options.caller {
            CallerChannel::Left => Side::Left,
            CallerChannel::Right => Side::Right,
            CallerChannel::Auto => suggested.unwrap_or(Side::Left),
        };
        let mut warnings = Vec::new();
        if mono {
            warnings.push(Warning::Mono);
        } else if suggested.is_some_and(|suggested| suggested != side) {
            warnings.push(Warning::Swapped);
        } else if suggested.is_none() && options.caller == CallerChannel::Auto {
            warnings.push(Warning::Undecided);
        }
        for (n, of) in [Side::Left, Side::Right].into_iter().enumerate() {
            if sounds[n].is_empty() {
                warnings.push(Warning::Silent { side: of });
            }
            let percent = heard[n].clipped as f64 * 100.0 / heard[n].samples.max(1) as f64;
            if percent > CLIPPED_PERCENT {
                warnings.push(Warning::Clipped { side: of, percent });
            }
            if let Some(echo) = leaks[n].filter(|_| !mono) {
                let (level_db, delay_ms) = (f64::from(echo.level_db), echo.delay_ms());
                warnings.push(Warning::Echo { side: of, level_db, delay_ms });
            }
        }
        let [left, right] = heard;
        let left = (track(Side::Left, &sounds[0], &left), &sounds[0]);
        let right = (track(Side::Right, &sounds[1], &right), &sounds[1]);
        let (caller, agent) = if side == Side::Left { (left, right) } else { (right, left) };
        let Dialogue { turns, backchannels } = dialogue(caller.1, agent.1, options, duration_s);
        let (caller, agent) = (caller.0, agent.0);
        let dead_air = dead_air(&caller.segments, &agent.segments, options.dead_air_s);
        let talk_over_s = overlap_s(&caller.segments, &agent.segments);
        Findings {
            duration_s,
            rate,
            caller,
            agent,
            turns,
            backchannels,
            dead_air,
            talk_over_s,
            warnings,
        }
    }
}

fn track(side: Side, sounds: &[Sound], heard: &Heard) -> Track {
    Track {
        side,
        segments: sounds.iter().map(Sound::segment).collect(),
        speech_dbfs: middle(sounds.iter().map(|sound| sound.level_db)),
        noise_dbfs: middle(sounds.iter().map(|sound| sound.noise_db)),
        peaks: heard.peaks.clone(),
    }
}

/// The median; silence if there is nothing.
fn middle(levels: impl Iterator<Item = f32>) -> f64 {
    let mut levels: Vec<f32> = levels.collect();
    levels.sort_by(f32::total_cmp);
    levels.get(levels.len() / 2).map_or(-110.0, |level| f64::from(*level))
}

/// On which channel the caller seems to be: an agent's voice is made, and there is nothing behind
/// it, while a caller is somewhere. `None` if the channels tell nothing.
fn suggested(left: &[Sound], right: &[Sound]) -> Option<Side> {
    /// The noise behind the one is so much louder than behind the other.
    const DIFFERENCE_DB: f64 = 12.0;
    if left.is_empty() || right.is_empty() {
        return None;
    }
    let noise = |sounds: &[Sound]| middle(sounds.iter().map(|sound| sound.noise_db));
    let (left, right) = (noise(left), noise(right));
    if left > right + DIFFERENCE_DB {
        Some(Side::Left)
    } else if right > left + DIFFERENCE_DB {
        Some(Side::Right)
    } else {
        None
    }
}

/// Silences of both that are longer than `longest_s`.
fn dead_air(caller: &[Segment], agent: &[Segment], longest_s: f64) -> Vec<Segment> {
    let mut all: Vec<Segment> = caller.iter().chain(agent).copied().collect();
    all.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
    let mut end_s = f64::INFINITY;
    let mut found = Vec::new();
    for segment in all {
        if segment.start_s - end_s > longest_s {
            found.push(Segment::new(end_s, segment.start_s));
        }
        end_s = if end_s.is_finite() { end_s.max(segment.end_s) } else { segment.end_s };
    }
    found
}

/// Seconds in which both speak. Both lists are in order, and nothing in one of them overlaps.
fn overlap_s(one: &[Segment], other: &[Segment]) -> f64 {
    let (mut sum, mut from) = (0.0, 0);
    for segment in one {
        while other.get(from).is_some_and(|other| other.end_s <= segment.start_s) {
            from += 1;
        }
        let beside = other[from..].iter().take_while(|other| other.start_s < segment.end_s);
        sum += beside.map(|other| other.overlap_s(segment)).sum::<f64>();
    }
    // Frames are what is counted; less would only look exact.
    (sum / FRAME_S).round() * FRAME_S
}
