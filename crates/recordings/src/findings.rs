use serde::{Deserialize, Serialize};

use crate::{Segment, Side, Turn};

/// What is odd about a recording, though it could be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Warning {
    /// The channels look swapped: who is called the caller behaves as an agent does.
    Swapped,
    /// Which one is the caller was asked of the recording, and its channels do not tell.
    Undecided,
    /// Both channels carry the same, so nobody can be told apart.
    Mono,
    /// One channel holds no speech at all.
    Silent {
        /// Which one.
        side: Side,
    },
    /// A channel is clipped: its edges are as good as ever, its levels are not.
    Clipped {
        /// Which one.
        side: Side,
        /// Clipped samples of all, in percent.
        percent: f64,
    },
    /// A channel carries an echo of the other one.
    Echo {
        /// The channel with the echo in it.
        side: Side,
        /// Level of the echo against its source, in dB.
        level_db: f64,
        /// How late it is, in milliseconds.
        delay_ms: f64,
    },
    /// The file ends before it should: what is there was read.
    Truncated,
    /// Parts of the file could not be decoded, and count as silence.
    Damaged {
        /// How many.
        pieces: u64,
    },
}

/// What one channel holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// Which channel it is.
    pub side: Side,
    /// Its speech, echoes of the other channel left out.
    pub segments: Vec<Segment>,
    /// Level of its speech, in dB of full scale.
    pub speech_dbfs: f64,
    /// Level of what is between the speech.
    pub noise_dbfs: f64,
    /// The waveform: largest magnitude, 0 to 1, in each of at most
    /// [`PEAKS_MAX`](Self::PEAKS_MAX) equal stretches of the recording.
    pub peaks: Vec<f32>,
}

impl Track {
    /// Points of a waveform at most.
    pub const PEAKS_MAX: usize = 4096;

    /// Seconds of speech.
    pub fn speech_s(&self) -> f64 {
        self.segments.iter().map(Segment::length_s).sum()
    }
}

/// What was found in one recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// How long it is, in seconds.
    pub duration_s: f64,
    /// Samples of one channel in a second, as recorded.
    pub rate: u32,
    /// The caller's channel.
    pub caller: Track,
    /// The agent's.
    pub agent: Track,
    /// The turns, in the order of time.
    pub turns: Vec<Turn>,
    /// What the caller said while the agent went on, too short to be a barge-in.
    pub backchannels: Vec<Segment>,
    /// Where both were silent for long, between the first speech and the last.
    pub dead_air: Vec<Segment>,
    /// Seconds in which both spoke.
    pub talk_over_s: f64,
    /// What is odd.
    pub warnings: Vec<Warning>,
}
