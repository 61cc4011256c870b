//! The scales of one row's block within a group: how they are put there and read back.

use half::f16;

use super::layout::{Place, ROWS, Scales};

/// What the quants of one row's block mean: the weight of `quant` is `scale x (quant - offset)`
/// in each half, plus `minimum`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Meaning {
    /// The scale of inputs 0..16, and of inputs 16..32.
    pub(super) scale: [f32; 2],
    pub(super) minimum: f32,
    pub(super) offset: u8,
}

/// What formats without super-blocks give: two bytes of f16 each, little-endian. `to` begins with
/// the tile's scales.
#[inline]
pub(super) fn put_block(scales: Scales, to: &mut [u8], row: usize, factors: [[u8; 2]; 2]) {
    to[2 * row..][..2].copy_from_slice(&factors[0]);
    if scales == Scales::Minimum {
        to[2 * (ROWS + row)..][..2].copy_from_slice(&factors[1]);
    }
}

/// What formats with super-blocks give for 8 tiles: two f16 factors. `to` begins with the line.
#[inline]
pub(super) fn put_factors(to: &mut [u8], row: usize, factors: [[u8; 2]; 2]) {
    put_block(Scales::Minimum, to, row, factors);
}

/// What formats with super-blocks give for one tile. `to` begins with the tile's scales.
#[inline]
pub(super) fn put_pair(to: &mut [u8], row: usize, pair: [u8; 2]) {
    to[row] = pair[0];
    to[ROWS + row] = pair[1];
}

/// The value of two bytes.
fn float(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// What was put for `row` of a tile of a group.
#[inline]
pub(super) fn meaning(scales: Scales, group: &[u8], place: Place, row: usize) -> Meaning {
    let factor = |i: usize| float(group, place.factors + 2 * (i * ROWS + row));
    let pair = [0, 1].map(|i: usize| group[place.scales + i * ROWS + row]);
    let direct = |i: usize| float(group, place.scales + 2 * (i * ROWS + row));
    match scales {
        Scales::Offset(offset) => Meaning { scale: [direct(0); 2], minimum: 0.0, offset },
        Scales::Minimum => Meaning { scale: [direct(0); 2], minimum: direct(1), offset: 0 },
        Scales::SuperMinimum => {
            let [scale, minimum] = pair.map(f32::from);
            let scale = factor(0) * scale;
            Meaning { scale: [scale; 2], minimum: -(factor(1) * minimum), offset: 0 }
        }
        Scales::SuperHalves => {
            let scale = pair.map(|scale| factor(0) * f32::from(scale as i8));
            Meaning { scale, minimum: 0.0, offset: 32 }
        }
    }
}
