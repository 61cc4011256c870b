//! The scales of one row's block within a group: how they are put there and read back.

use half::f16;

use super::layout::{ROWS, SUPER_HALVES, SUPER_MINIMUM, Scales, TILES};

/// What the quants of one row's block mean: the weight of `quant` is `scale x (quant - offset)`
/// in each half, plus `minimum`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Meaning {
    /// The scale of inputs 0..16, and of inputs 16..32.
    pub(super) scale: [f32; 2],
    pub(super) minimum: f32,
    pub(super) offset: u8,
}

/// What formats without super-blocks give: two bytes of f16 each, little-endian.
#[inline]
pub(super) fn put_block(
    scales: Scales,
    bytes: &mut [u8],
    block: usize,
    row: usize,
    scale: [u8; 2],
    minimum: [u8; 2],
) {
    let stride = if scales == Scales::Minimum { 4 * ROWS } else { 2 * ROWS };
    let tile = &mut bytes[block * stride..][..stride];
    tile[2 * row..][..2].copy_from_slice(&scale);
    if scales == Scales::Minimum {
        tile[2 * (ROWS + row)..][..2].copy_from_slice(&minimum);
    }
}

/// What formats with super-blocks give: up to two f16 factors, and two bytes for each of the
/// 8 blocks.
#[inline]
pub(super) fn put_super(
    scales: Scales,
    bytes: &mut [u8],
    index: usize,
    row: usize,
    factors: [[u8; 2]; 2],
    pairs: &[[u8; 2]; TILES],
) {
    let (stride, count) =
        if scales == Scales::SuperMinimum { (SUPER_MINIMUM, 2) } else { (SUPER_HALVES, 1) };
    let whole = &mut bytes[index * stride..][..stride];
    let (heads, tiles) = whole.split_at_mut(count * 2 * ROWS);
    for (head, factor) in heads.chunks_exact_mut(2 * ROWS).zip(factors) {
        head[2 * row..][..2].copy_from_slice(&factor);
    }
    for (tile, pair) in tiles.chunks_exact_mut(2 * ROWS).zip(pairs) {
        tile[row] = pair[0];
        tile[ROWS + row] = pair[1];
    }
}

/// The value of two bytes.
fn float(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// What was put for `row` of tile `block`.
#[inline]
pub(super) fn meaning(scales: Scales, bytes: &[u8], block: usize, row: usize) -> Meaning {
    let (index, tile) = (block / TILES, block % TILES);
    match scales {
        Scales::Offset(offset) => {
            let scale = float(bytes, block * 2 * ROWS + 2 * row);
            Meaning { scale: [scale; 2], minimum: 0.0, offset }
        }
        Scales::Minimum => {
            let at = block * 4 * ROWS + 2 * row;
            let scale = float(bytes, at);
            Meaning { scale: [scale; 2], minimum: float(bytes, at + 2 * ROWS), offset: 0 }
        }
        Scales::SuperMinimum => {
            let bytes = &bytes[index * SUPER_MINIMUM..][..SUPER_MINIMUM];
            let at = 4 * ROWS + tile * 2 * ROWS + row;
            let scale = float(bytes, 2 * row) * f32::from(bytes[at]);
            let minimum = float(bytes, 2 * (ROWS + row)) * f32::from(bytes[at + ROWS]);
            Meaning { scale: [scale; 2], minimum: -minimum, offset: 0 }
        }
        Scales::SuperHalves => {
            let bytes = &bytes[index * SUPER_HALVES..][..SUPER_HALVES];
            let factor = float(bytes, 2 * row);
            let at = 2 * ROWS + tile * 2 * ROWS + row;
            let scale = [at, at + ROWS].map(|at| factor * f32::from(bytes[at] as i8));
            Meaning { scale, minimum: 0.0, offset: 32 }
        }
    }
}
