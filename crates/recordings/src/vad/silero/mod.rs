//! The Silero gate: a small recurrent network over 32 ms of sound, computed here from the
//! published weights.
//!
//! Everything before the recurrent cell looks at one window alone, so eight windows go through it
//! side by side, one in each lane. Every sum has one order, whatever the machine's vectors are:
//! the same samples give the same answers everywhere.

mod lstm;
mod spectrum;
mod weights;

use std::sync::LazyLock;

use self::lstm::{Lstm, State, sigmoid};
use self::spectrum::{BINS, Spectrum};
use self::weights::{LANES, Lanes, Layer, Tensors};
use super::Gate;

/// Samples of a window.
const WINDOW: usize = 512;
/// Samples before the window that the network sees as well.
const CONTEXT: usize = 64;
/// Spectra of a window.
const FRAMES: usize = 4;
/// Values of the first and of the last layer before the cell.
const WIDE: usize = 128;
/// Values of the layers between.
const NARROW: usize = 64;

/// One copy for all channels of all files.
static NETWORK: LazyLock<Network> = LazyLock::new(Network::published);

/// The network itself.
struct Network {
    spectrum: Spectrum,
    /// Their taps stand one after the other, as the frames do that they look at.
    convolutions: [Layer; 4],
    lstm: Lstm,
    last: Vec<f32>,
    bias: f32,
}

impl Network {
    fn published() -> Self {
        let tensors = Tensors::published();
        let convolution = |name: &str, outputs: usize, inputs: usize, taps: &[usize]| {
            let weight = tensors.get(&format!("{name}.weight"), outputs * inputs * 3);
            let rows = (0..outputs).map(|out| {
                taps.iter().flat_map(move |tap| {
                    (0..inputs).map(move |input| weight.at((out * inputs + input) * 3 + tap))
                })
            });
            Layer::new(rows.map(Iterator::collect), &tensors.get(&format!("{name}.bias"), outputs))
        };
        Self {
            spectrum: Spectrum::new(),
            convolutions: [
                convolution("conv1", WIDE, BINS, &[0, 1, 2]),
                convolution("conv2", NARROW, WIDE, &[0, 1, 2]),
                // Of its three taps one always meets the padding, of the next one's three two do.
                convolution("conv3", NARROW, NARROW, &[1, 2]),
                convolution("conv4", WIDE, NARROW, &[1]),
            ],
            lstm: Lstm::new(&tensors),
            last: tensors.get("final_conv.weight", WIDE).all(),
            bias: tensors.get("final_conv.bias", 1).at(0),
        }
    }
}

/// What the layers of one batch of windows are computed into.
struct Scratch {
    samples: Vec<f32>,
    spectra: Vec<Lanes>,
    first: Vec<Lanes>,
    second: Vec<Lanes>,
    third: Vec<Lanes>,
    fourth: Vec<Lanes>,
    gates: Vec<Lanes>,
}

impl Scratch {
    fn new() -> Self {
        let lanes = |count| vec![[0.0; LANES]; count];
        Self {
            samples: Vec::new(),
            spectra: lanes(FRAMES * BINS),
            first: lanes(FRAMES * WIDE),
            second: lanes(2 * NARROW),
            third: lanes(NARROW),
            fourth: lanes(WIDE),
            gates: lanes(4 * WIDE),
        }
    }
}

/// The gate over one channel.
pub struct Silero {
    network: &'static Network,
    state: State,
    /// The context of the next window, then what has come since.
    pending: Vec<f32>,
    scratch: Scratch,
}

impl Silero {
    /// Samples in a second that the network was trained on.
    pub const RATE: u32 = 16_000;

    /// A gate that has heard nothing yet.
    pub fn new() -> Self {
        Self {
            network: &NETWORK,
            state: State::default(),
            pending: vec![0.0; CONTEXT],
            scratch: Scratch::new(),
        }
    }

    /// Answers for the first `count` pending windows; those after them are whatever is there.
    fn batch(&mut self, count: usize, speech: &mut Vec<f32>) {
        let Self { network, state, pending, scratch } = self;
        let convolutions = &network.convolutions;
        for frame in 0..FRAMES {
            let out = &mut scratch.spectra[frame * BINS..][..BINS];
            network.spectrum.frame(pending, frame, &mut scratch.samples, out);
        }
        // Frame by frame; at both ends one tap falls on the padding, and is left out.
        for frame in 0..FRAMES {
            let (from, skipped) = if frame == 0 { (0, BINS) } else { ((frame - 1) * BINS, 0) };
            let to = scratch.spectra.len().min((frame + 2) * BINS);
            let out = &mut scratch.first[frame * WIDE..][..WIDE];
            convolutions[0].relu(skipped, &scratch.spectra[from..to], out);
        }
        let (early, late) = scratch.second.split_at_mut(NARROW);
        convolutions[1].relu(WIDE, &scratch.first[..2 * WIDE], early);
        convolutions[1].relu(0, &scratch.first[WIDE..], late);
        convolutions[2].relu(0, &scratch.second, &mut scratch.third);
        convolutions[3].relu(0, &scratch.third, &mut scratch.fourth);
        network.lstm.inputs(&scratch.fourth, &mut scratch.gates);
        for lane in 0..count {
            network.lstm.step(&scratch.gates, lane, state);
            let said = state.hidden.iter().zip(&network.last).map(|(h, w)| h.max(0.0) * w);
            speech.push(sigmoid(said.sum::<f32>() + network.bias));
        }
        pending.drain(..count * WINDOW);
    }
}

impl Default for Silero {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate for Silero {
    fn rate(&self) -> u32 {
        Self::RATE
    }

    fn frame(&self) -> usize {
        WINDOW
    }

    fn push(&mut self, samples: &[f32], speech: &mut Vec<f32>) {
        self.pending.extend_from_slice(samples);
        while self.pending.len() >= CONTEXT + LANES * WINDOW {
            self.batch(LANES, speech);
        }
    }

    fn finish(&mut self, speech: &mut Vec<f32>) {
        let left = self.pending.len().saturating_sub(CONTEXT).div_ceil(WINDOW);
        if left > 0 {
            self.pending.resize(CONTEXT + LANES * WINDOW, 0.0);
            self.batch(left, speech);
        }
        self.pending.clear();
        self.pending.resize(CONTEXT, 0.0);
        self.state = State::default();
    }
}
