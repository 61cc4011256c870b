use std::collections::BTreeMap;

use serde::Deserialize;

/// Windows that are computed side by side.
pub const LANES: usize = 8;
/// One value of each of them.
pub type Lanes = [f32; LANES];

/// Outputs that are computed at once: with the inputs they fill the registers of the plainest
/// machines.
const TILE: usize = 4;

/// The file as published (assets/silero/README.md).
const FILE: &[u8] = include_bytes!("../../../assets/silero/silero_vad_16k.safetensors");

/// The tensors of the file.
pub struct Tensors {
    places: BTreeMap<String, Place>,
    data: &'static [u8],
}

#[derive(Deserialize)]
struct Place {
    data_offsets: (usize, usize),
}

/// One tensor, its values in the order of the file.
#[derive(Clone, Copy)]
pub struct Tensor(&'static [u8]);

impl Tensors {
    /// Reads the file that this program carries; it is part of it, and what is wrong with it a
    /// fault of the program.
    pub fn published() -> Self {
        let (length, rest) = FILE.split_first_chunk().expect("eight bytes of length");
        let length = usize::try_from(u64::from_le_bytes(*length)).expect("a header in memory");
        let (header, data) = rest.split_at(length);
        Self { places: serde_json::from_slice(header).expect("a header of tensors"), data }
    }

    /// The tensor of that name, which has so many values.
    pub fn get(&self, name: &str, values: usize) -> Tensor {
        let (from, to) = self.places.get(name).expect("a tensor of that name").data_offsets;
        assert_eq!(to - from, 4 * values, "values of {name}");
        Tensor(&self.data[from..to])
    }
}

impl Tensor {
    /// One of its values.
    pub fn at(self, index: usize) -> f32 {
        let bytes = self.0[4 * index..].first_chunk().expect("four bytes");
        f32::from_le_bytes(*bytes)
    }

    /// All of them.
    pub fn all(self) -> Vec<f32> {
        (0..self.0.len() / 4).map(|index| self.at(index)).collect()
    }
}

/// A matrix and what is added to its products, packed for [`LANES`] inputs at once.
pub struct Layer {
    /// Of each tile of outputs, for each input, the weights of the tile.
    tiles: Vec<Vec<[f32; TILE]>>,
    bias: Vec<f32>,
}

impl Layer {
    /// A layer of these rows, one an output.
    pub fn new(rows: impl Iterator<Item = Vec<f32>>, bias: &Tensor) -> Self {
        let rows: Vec<_> = rows.collect();
        let tiles = rows.chunks(TILE).map(|rows| {
            (0..rows[0].len()).map(|input| std::array::from_fn(|row| rows[row][input])).collect()
        });
        Self { tiles: tiles.collect(), bias: bias.all() }
    }

    /// Its products with the inputs, from the weight of input `skipped` on.
    pub fn linear(&self, skipped: usize, inputs: &[Lanes], outputs: &mut [Lanes]) {
        let tiles = self.tiles.iter().zip(outputs.chunks_exact_mut(TILE));
        for ((tile, out), bias) in tiles.zip(self.bias.chunks_exact(TILE)) {
            let mut sums = [[0.0_f32; LANES]; TILE];
            for (weights, input) in tile[skipped..].iter().zip(inputs) {
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    for (sum, value) in sum.iter_mut().zip(input) {
                        *sum += weight * value;
                    }
                }
            }
            for ((out, sum), bias) in out.iter_mut().zip(sums).zip(bias) {
                *out = sum.map(|sum| sum + bias);
            }
        }
    }

    /// The same, and nothing below zero.
    pub fn relu(&self, skipped: usize, inputs: &[Lanes], outputs: &mut [Lanes]) {
        self.linear(skipped, inputs, outputs);
        for out in outputs {
            *out = out.map(|value| value.max(0.0));
        }
    }
}
