//! The WebRTC gate: the likelihood of speech and of noise in six bands, each a mixture of two
//! Gaussians that follow what they hear.
//!
//! The method, its constants and its fixed-point arithmetic are those of the WebRTC project
//! (BSD licence, assets/webrtc/LICENSE), so that it decides as the C code does, frame by frame.

mod bands;
mod minimum;
mod mixture;

use self::bands::Bands;
use self::mixture::Model;
use super::Gate;

/// Samples of a frame: 10 ms.
const FRAME: usize = 80;
/// Bands that are looked at.
const BANDS: usize = 6;
/// Less energy than this is no sound at all.
const MIN_ENERGY: i16 = 10;
/// A decision for speech lasts for so many frames, once it came this many times in a row ..
const LASTS_LONG: i16 = 9;
/// .. or else so many.
const LASTS: i16 = 6;
/// How many times in a row it must come for that.
const IN_A_ROW: i16 = 6;

/// The gate over one channel, in the mode that lets the least noise pass.
pub struct Webrtc {
    bands: Bands,
    model: Model,
    /// Frames for which the last decision still lasts.
    lasts: i16,
    in_a_row: i16,
    pending: Vec<f32>,
}

impl Webrtc {
    /// Samples in a second that it takes.
    pub const RATE: u32 = 8_000;

    /// A gate that has heard nothing yet.
    pub fn new() -> Self {
        Self {
            bands: Bands::default(),
            model: Model::new(),
            lasts: 0,
            in_a_row: 0,
            pending: Vec::new(),
        }
    }

    /// Whether a frame is speech.
    fn decide(&mut self, frame: &[i16; FRAME]) -> bool {
        let (features, energy) = self.bands.features(frame);
        let speech = energy > MIN_ENERGY && self.model.decide(&features);
        if speech {
            self.in_a_row += 1;
            self.lasts = LASTS;
            if self.in_a_row > IN_A_ROW {
                self.in_a_row = IN_A_ROW;
                self.lasts = LASTS_LONG;
            }
            return true;
        }
        self.in_a_row = 0;
        let lasts = self.lasts > 0;
        self.lasts -= i16::from(lasts);
        lasts
    }
}

impl Default for Webrtc {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate for Webrtc {
    fn rate(&self) -> u32 {
        Self::RATE
    }

    fn frame(&self) -> usize {
        FRAME
    }

    fn push(&mut self, samples: &[f32], speech: &mut Vec<f32>) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(samples);
        let (frames, rest) = pending.as_chunks::<FRAME>();
        for frame in frames {
            // The conversion saturates.
            let frame = frame.map(|sample| (sample * 32_768.0).round() as i16);
            speech.push(f32::from(u8::from(self.decide(&frame))));
        }
        self.pending.extend_from_slice(rest);
    }

    fn finish(&mut self, speech: &mut Vec<f32>) {
        if !self.pending.is_empty() {
            let silence = vec![0.0; FRAME - self.pending.len()];
            self.push(&silence, speech);
        }
        *self = Self::new();
    }
}
