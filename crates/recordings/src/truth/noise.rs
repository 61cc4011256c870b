//! What else is on a line beside the voices.

use std::f64::consts::TAU;

use super::dice::Dice;
use super::{Bank, ClipKind, RATE};

/// Root mean square of samples; 0 if there are none.
pub fn rms(samples: &[f32]) -> f64 {
    let power: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (power / samples.len().max(1) as f64).sqrt()
}

/// An amplitude of so many decibels.
pub fn amplitude(db: f64) -> f64 {
    10_f64.powf(db / 20.0)
}

/// Sets the level, as root mean square.
fn level(mut samples: Vec<f32>, to: f64) -> Vec<f32> {
    let gain = (to / rms(&samples).max(1e-9)) as f32;
    samples.iter_mut().for_each(|sample| *sample *= gain);
    samples
}

/// Noise with as much power in every octave.
pub fn pink(dice: &mut Dice, samples: usize, rms: f64) -> Vec<f32> {
    // White noise through poles at every other octave (the filter of Paul Kellet).
    const POLES: [(f64, f64); 3] =
        [(0.997_65, 0.099_046), (0.963_0, 0.296_516_4), (0.57, 1.052_691_3)];
    let mut state = [0.0_f64; 3];
    let mut next = || {
        let white = dice.normal();
        for (value, (pole, gain)) in state.iter_mut().zip(POLES) {
            *value = pole * *value + gain * white;
        }
        (state.iter().sum::<f64>() + white * 0.184_8) as f32
    };
    level((0..samples).map(|_| next()).collect(), rms)
}

/// Noise that is the same at all frequencies.
pub fn white(dice: &mut Dice, samples: usize, rms: f64) -> Vec<f32> {
    (0..samples).map(|_| (dice.normal() * rms) as f32).collect()
}

/// A room full of people: many voices over each other.
pub fn babble(dice: &mut Dice, bank: &Bank, samples: usize, rms: f64) -> Vec<f32> {
    const PEOPLE: usize = 6;
    let mut room = vec![0.0_f32; samples];
    for _ in 0..PEOPLE {
        let Some(voice) = bank.voices().get(dice.below(bank.voices().len())) else { continue };
        let said = bank.of(voice, ClipKind::Phrase);
        let mut at = 0;
        while at < samples && !said.is_empty() {
            let clip = said[dice.below(said.len())];
            let gain = dice.between(0.5, 1.0) as f32 / noise_floor(&clip.samples);
            for (sum, sample) in room.iter_mut().skip(at).zip(&clip.samples) {
                *sum += sample * gain;
            }
            at += clip.samples.len() + seconds(dice.between(0.0, 0.5));
        }
    }
    level(room, rms)
}

/// The level of a clip, never 0.
fn noise_floor(samples: &[f32]) -> f32 {
    rms(samples).max(1e-6) as f32
}

/// Music that waits: chords of plucked tones, a bass, a beat.
pub fn music(dice: &mut Dice, samples: usize, rms: f64) -> Vec<f32> {
    const CHORDS: [[f64; 4]; 4] = [
        [130.81, 261.63, 329.63, 392.00],
        [110.00, 220.00, 261.63, 329.63],
        [87.31, 174.61, 220.00, 261.63],
        [98.00, 196.00, 246.94, 293.66],
    ];
    let beat = seconds(dice.between(0.22, 0.32));
    let mut song = vec![0.0_f32; samples];
    for (n, start) in (0..samples).step_by(beat).enumerate() {
        let chord = CHORDS[(n / 8) % CHORDS.len()];
        let [bass, ..] = chord;
        let note = chord[1 + dice.below(3)] * if dice.chance(0.3) { 2.0 } else { 1.0 };
        pluck(&mut song, start, note, 0.9);
        if n % 4 == 0 {
            pluck(&mut song, start, bass, 1.6);
        }
        for sample in song.iter_mut().skip(start).take(seconds(0.02)) {
            *sample += (dice.normal() * 0.15) as f32;
        }
    }
    level(song, rms)
}

/// Adds a plucked tone with its overtones.
fn pluck(song: &mut [f32], start: usize, hz: f64, length_s: f64) {
    for (n, sample) in song.iter_mut().skip(start).take(seconds(length_s)).enumerate() {
        let t = n as f64 / f64::from(RATE);
        let overtone = |k: f64| (TAU * hz * k * t).sin() * (-t * (2.0 + k)).exp() / k;
        // A millisecond or two to its full strength, so that it does not click.
        *sample += ([1.0, 2.0, 3.0, 4.0, 5.0].map(overtone).iter().sum::<f64>()
            * (t * 400.0).min(1.0)) as f32;
    }
}

/// A short sound that is no speech.
enum Burst {
    Click,
    /// Something falls, or a microphone is touched; it dies away so fast.
    Bump(f64),
    /// A dialled digit, of two tones.
    Digit(f64, f64),
}

impl Burst {
    /// One of them, and for how many samples it lasts.
    fn draw(dice: &mut Dice) -> (Self, usize) {
        const LOW: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
        const HIGH: [f64; 3] = [1_209.0, 1_336.0, 1_477.0];
        match dice.below(3) {
            0 => (Self::Click, seconds(0.004)),
            1 => {
                let length = seconds(dice.between(0.02, 0.08));
                (Self::Bump(4.0 / length as f64), length)
            }
            _ => (Self::Digit(LOW[dice.below(4)], HIGH[dice.below(3)]), seconds(0.09)),
        }
    }

    fn sample(&self, n: usize, dice: &mut Dice) -> f64 {
        let tone = |hz: f64| (TAU * hz * n as f64 / f64::from(RATE)).sin();
        match *self {
            Self::Click => dice.normal() * 0.6 / (1.0 + n as f64),
            Self::Bump(fall) => dice.normal() * 0.4 * (-(n as f64) * fall).exp(),
            Self::Digit(low, high) => (tone(low) + tone(high)) * 0.25,
        }
    }
}

/// Clicks, bumps and dialled digits, now and then.
pub fn bursts(dice: &mut Dice, samples: usize, amplitude: f64) -> Vec<f32> {
    let mut line = vec![0.0_f32; samples];
    let mut at = seconds(dice.between(0.5, 3.0));
    while at < samples {
        let (burst, length) = Burst::draw(dice);
        for (n, sample) in line.iter_mut().skip(at).take(length).enumerate() {
            *sample += (burst.sample(n, dice) * amplitude) as f32;
        }
        at += seconds(dice.between(0.8, 5.0));
    }
    line
}

/// Samples of so many seconds.
pub fn seconds(s: f64) -> usize {
    (s * f64::from(RATE)).round() as usize
}
