use super::Gate;

/// Samples of a frame: 10 ms.
const FRAME: usize = 80;
/// Frames in which the quietest one is the noise: 1.5 s in four parts.
const PART: usize = 38;
/// From this far above the noise on it may be speech, in dB ..
const LOW_DB: f32 = 4.0;
/// .. and from this far on it is.
const HIGH_DB: f32 = 16.0;
/// What is quieter is no speech, in dB of full scale.
const QUIETEST_DB: f32 = -66.0;

/// The energy gate: what is louder than the quietest of the last second and a half.
pub struct Energy {
    pending: Vec<f32>,
    /// The quietest frames of the last parts, and of the present one.
    parts: [f32; 4],
    present: f32,
    frames: usize,
}

impl Energy {
    /// Samples in a second that it takes.
    pub const RATE: u32 = 8_000;

    /// A gate that has heard nothing yet.
    pub fn new() -> Self {
        let parts = [f32::INFINITY; 4];
        Self { pending: Vec::new(), parts, present: f32::INFINITY, frames: 0 }
    }

    fn answer(&mut self, power: f32) -> f32 {
        let db = 10.0 * power.max(1e-12).log10();
        self.present = self.present.min(db);
        self.frames += 1;
        if self.frames.is_multiple_of(PART) {
            self.parts.rotate_left(1);
            self.parts[3] = self.present;
            self.present = f32::INFINITY;
        }
        let noise = self.parts.iter().fold(self.present, |least, part| least.min(*part));
        // The quietest frame is some way below the usual noise.
        let above = db - noise.max(QUIETEST_DB - HIGH_DB) - 3.0;
        if db < QUIETEST_DB {
            return 0.0;
        }
        ((above - LOW_DB) / (HIGH_DB - LOW_DB)).clamp(0.0, 1.0)
    }
}

impl Default for Energy {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate for Energy {
    fn rate(&self) -> u32 {
        Self::RATE
    }

    fn frame(&self) -> usize {
        FRAME
    }

    fn push(&mut self, samples: &[f32], speech: &mut Vec<f32>) {
        self.pending.extend_from_slice(samples);
        let pending = std::mem::take(&mut self.pending);
        let frames = pending.chunks_exact(FRAME);
        self.pending.extend_from_slice(frames.remainder());
        for frame in frames {
            let power: f32 = frame.iter().map(|sample| sample * sample).sum();
            speech.push(self.answer(power / FRAME as f32));
        }
    }

    fn finish(&mut self, speech: &mut Vec<f32>) {
        if !self.pending.is_empty() {
            let silence = vec![0.0; FRAME - self.pending.len()];
            self.push(&silence, speech);
        }
        *self = Self::new();
    }
}
