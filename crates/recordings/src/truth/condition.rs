use std::fmt;

use super::dice::Dice;
use super::filter::{mu_law, telephone};
use super::noise::{amplitude, babble, bursts, music, pink, seconds, white};
use super::{Bank, RATE};
use crate::Stereo;

/// What a line does to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// Nothing but a little hiss.
    Clean,
    /// Noise at the caller's, 30 dB below him.
    Noise30,
    /// G.711 mu-law, the band of a telephone, noise 28 dB below each voice.
    G711,
    /// Each side hears itself on the other: the agent on the caller's channel 26 dB down after
    /// 180 ms, the caller on the agent's 38 dB down after 60 ms.
    Echo,
    /// A caller who speaks at -40 dBFS.
    Quiet,
    /// Clicks, bumps and dialled digits at the caller's.
    Bursts,
    /// Noise at the caller's, 20 dB below him.
    Noise20,
    /// People talking at the caller's, 15 dB below him.
    Babble15,
    /// Noise at the caller's, 10 dB below him.
    Noise10,
    /// Music at the caller's, 18 dB below him.
    Music,
}

impl Condition {
    /// Every one, the ordinary ones first.
    pub const ALL: [Self; 10] = [
        Self::Clean,
        Self::Noise30,
        Self::G711,
        Self::Echo,
        Self::Quiet,
        Self::Bursts,
        Self::Noise20,
        Self::Babble15,
        Self::Noise10,
        Self::Music,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Noise30 => "noise30",
            Self::G711 => "g711",
            Self::Echo => "echo",
            Self::Quiet => "quiet",
            Self::Bursts => "bursts",
            Self::Noise20 => "noise20",
            Self::Babble15 => "babble15",
            Self::Noise10 => "noise10",
            Self::Music => "music",
        }
    }

    /// Whether an ordinary telephone call sounds so.
    pub const fn telephone_normal(self) -> bool {
        matches!(self, Self::Clean | Self::Noise30 | Self::G711 | Self::Echo)
    }

    /// The caller's level when he speaks, dBFS.
    pub(super) fn caller_dbfs(self, dice: &mut Dice) -> f64 {
        let usual = dice.between(-26.0, -20.0);
        if self == Self::Quiet { -40.0 } else { usual }
    }

    /// Does to a call, the caller on its left, what the line does. `caller` and `agent` are the
    /// levels of the voices as root mean square.
    pub(super) fn apply(
        self,
        call: &mut Stereo,
        (caller, agent): (f64, f64),
        bank: &Bank,
        dice: &mut Dice,
    ) {
        let length = call.left.len();
        let below = |db: f64| caller * amplitude(-db);
        let hiss = amplitude(-75.0);
        match self {
            Self::Clean | Self::Quiet => {}
            Self::Noise30 => add(&mut call.left, &pink(dice, length, below(30.0))),
            Self::Noise20 => add(&mut call.left, &pink(dice, length, below(20.0))),
            Self::Noise10 => add(&mut call.left, &pink(dice, length, below(10.0))),
            Self::Babble15 => add(&mut call.left, &babble(dice, bank, length, below(15.0))),
            Self::Music => add(&mut call.left, &music(dice, length, below(18.0))),
            Self::Bursts => add(&mut call.left, &bursts(dice, length, 0.6)),
            Self::G711 => {
                add(&mut call.left, &pink(dice, length, below(28.0)));
                add(&mut call.right, &pink(dice, length, agent * amplitude(-28.0)));
            }
            Self::Echo => {
                let (left, right) = (call.left.clone(), call.right.clone());
                leak(&right, &mut call.left, 26.0, 0.180);
                leak(&left, &mut call.right, 38.0, 0.060);
            }
        }
        add(&mut call.left, &white(dice, length, hiss));
        add(&mut call.right, &white(dice, length, hiss));
        for channel in [&mut call.left, &mut call.right] {
            if self == Self::G711 {
                telephone(channel);
                mu_law(channel);
            }
            // As recordings keep it.
            for sample in channel {
                *sample = (*sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) / 32_768.0;
            }
        }
        debug_assert_eq!(call.rate, RATE);
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

fn add(channel: &mut [f32], sound: &[f32]) {
    for (sum, sample) in channel.iter_mut().zip(sound) {
        *sum += sample;
    }
}

/// Adds what comes over from the other channel: weaker, later, and a little smeared.
fn leak(from: &[f32], to: &mut [f32], db: f64, delay_s: f64) {
    for (tap, share) in [(0, 0.85), (seconds(0.007), 0.45), (seconds(0.019), 0.25)] {
        let gain = (amplitude(-db) * share) as f32;
        for (sum, sample) in to.iter_mut().skip(seconds(delay_s) + tap).zip(from) {
            *sum += sample * gain;
        }
    }
}
