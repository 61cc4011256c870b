//! Rows as files have them (`block_q4_0` and its like in ggml's `ggml-common.h`), taken apart
//! into quants and scales.

use super::layout::{Bits, Float, Format, ROWS, Scales, TILES, Weights};
use super::scale::{put_block, put_factors, put_pair};
use super::storage::LINE;
use super::tile::{Quants, put};

/// Puts one row, whole blocks, into its group, at place `row` of it.
pub(super) fn pack_row(format: Format, group: &mut [u8], row: usize, bytes: &[u8]) {
    let mut to = Group { group, row };
    match format {
        Format::F32 => to.floats(Float::F32.bytes(), bytes),
        Format::F16 => to.floats(Float::F16.bytes(), bytes),
        Format::Bf16 => to.floats(Float::Bf16.bytes(), bytes),
        Format::Q4_0 => {
            for (block, [d0, d1, quants @ ..]) in blocks::<18>(bytes) {
                to.block(format, block, [[*d0, *d1], [0; 2]], &nibbles(quants));
            }
        }
        Format::Q4_1 => {
            for (block, [d0, d1, m0, m1, quants @ ..]) in blocks::<20>(bytes) {
                to.block(format, block, [[*d0, *d1], [*m0, *m1]], &nibbles(quants));
            }
        }
        Format::Q5_0 => {
            for (block, [d0, d1, h0, h1, h2, h3, quants @ ..]) in blocks::<22>(bytes) {
                let quants = fifth(nibbles(quants), [*h0, *h1, *h2, *h3]);
                to.block(format, block, [[*d0, *d1], [0; 2]], &quants);
            }
        }
        Format::Q5_1 => {
            for (block, [d0, d1, m0, m1, h0, h1, h2, h3, quants @ ..]) in blocks::<24>(bytes) {
                let quants = fifth(nibbles(quants), [*h0, *h1, *h2, *h3]);
                to.block(format, block, [[*d0, *d1], [*m0, *m1]], &quants);
            }
        }
        Format::Q8_0 => {
            for (block, [d0, d1, quants @ ..]) in blocks::<34>(bytes) {
                // Unsigned: the offset of the format is 128.
                to.block(format, block, [[*d0, *d1], [0; 2]], &quants.map(|q| q ^ 0x80));
            }
        }
        Format::Q4K => {
            for (index, block) in blocks::<144>(bytes) {
                to.q4_k(index, block);
            }
        }
        Format::Q5K => {
            for (index, block) in blocks::<176>(bytes) {
                to.q5_k(index, block);
            }
        }
        Format::Q6K => {
            for (index, block) in blocks::<210>(bytes) {
                to.q6_k(index, block);
            }
        }
    }
}

/// The group and the row in it that is being written.
struct Group<'a> {
    group: &'a mut [u8],
    row: usize,
}

impl Group<'_> {
    fn floats(&mut self, size: usize, bytes: &[u8]) {
        for (input, value) in bytes.chunks_exact(size).enumerate() {
            self.group[(input * ROWS + self.row) * size..][..size].copy_from_slice(value);
        }
    }

    /// A block of a format without super-blocks: scale, minimum, quants.
    #[inline]
    fn block(&mut self, format: Format, block: usize, factors: [[u8; 2]; 2], quants: &Quants) {
        let Weights::Integers(bits, scales) = format.weights() else { return };
        let place = scales.place(bits, block);
        put_block(scales, &mut self.group[place.scales..], self.row, factors);
        put(bits, &mut self.group[place.quants..], self.row, quants);
    }

    /// A tile of a format with super-blocks: its two bytes of scales, its quants.
    #[inline]
    fn tile(&mut self, (bits, scales): Super, tile: usize, pair: [u8; 2], quants: &Quants) {
        let place = scales.place(bits, tile);
        put_pair(&mut self.group[place.scales..], self.row, pair);
        put(bits, &mut self.group[place.quants..], self.row, quants);
    }

    /// The factors of the 8 tiles of super-block `index`.
    fn factors(&mut self, (bits, scales): Super, index: usize, factors: [[u8; 2]; 2]) {
        let place = scales.place(bits, index * TILES);
        put_factors(&mut self.group[place.factors..], self.row, factors);
    }

    fn q4_k(&mut self, index: usize, block: &[u8; 144]) {
        const Q4_K: Super = (Bits::Four, Scales::SuperMinimum);
        let [d0, d1, e0, e1, rest @ ..] = block;
        let (pairs, quants) = rest.split_at(12);
        self.factors(Q4_K, index, [[*d0, *d1], [*e0, *e1]]);
        for (chunk, quants) in quants.as_chunks::<32>().0.iter().enumerate() {
            let tile = TILES * index + 2 * chunk;
            self.tile(Q4_K, tile, pair(pairs, 2 * chunk), &quants.map(|q| q & 15));
            self.tile(Q4_K, tile + 1, pair(pairs, 2 * chunk + 1), &quants.map(|q| q >> 4));
        }
    }

    fn q5_k(&mut self, index: usize, block: &[u8; 176]) {
        const Q5_K: Super = (Bits::Five, Scales::SuperMinimum);
        let [d0, d1, e0, e1, rest @ ..] = block;
        let (pairs, rest) = rest.split_at(12);
        let (high, quants) = rest.split_at(32);
        self.factors(Q5_K, index, [[*d0, *d1], [*e0, *e1]]);
        for (chunk, quants) in quants.as_chunks::<32>().0.iter().enumerate() {
            let tile = TILES * index + 2 * chunk;
            let bit = |i: usize, shift: usize| ((high[i] >> shift) & 1) << 4;
            let low = std::array::from_fn(|i| (quants[i] & 15) | bit(i, 2 * chunk));
            self.tile(Q5_K, tile, pair(pairs, 2 * chunk), &low);
            let low = std::array::from_fn(|i| (quants[i] >> 4) | bit(i, 2 * chunk + 1));
            self.tile(Q5_K, tile + 1, pair(pairs, 2 * chunk + 1), &low);
        }
    }

    fn q6_k(&mut self, index: usize, block: &[u8; 210]) {
        const Q6_K: Super = (Bits::Six, Scales::SuperHalves);
        let (low, rest) = block.split_at(128);
        let (high, rest) = rest.split_at(64);
        let (scales, factor) = rest.split_at(16);
        self.factors(Q6_K, index, [[factor[0], factor[1]], [0; 2]]);
        for tile in 0..TILES {
            // Each half of 128 inputs has 64 bytes of low bits (of blocks 0 and 2, then of
            // 1 and 3, as nibbles) and 32 of high bits.
            let (half, quarter) = (tile / 4, tile % 4);
            let low = &low[64 * half + 32 * (quarter % 2)..][..32];
            let high = &high[32 * half..][..32];
            let (nibble, bits) = (4 * (quarter / 2), 2 * quarter);
            let quants =
                std::array::from_fn(|i| ((low[i] >> nibble) & 15) | (((high[i] >> bits) & 3) << 4));
            let pair = [scales[2 * tile], scales[2 * tile + 1]];
            self.tile(Q6_K, TILES * index + tile, pair, &quants);
        }
    }
}

/// Bits and scales of a format with super-blocks.
type Super = (Bits, Scales);

/// Scale and minimum of sub-block `i` of `Q4_K` and `Q5_K`: 6 bits each, in 12 bytes for all 8.
fn pair(packed: &[u8], i: usize) -> [u8; 2] {
    match i {
        0..4 => [packed[i] & 63, packed[i + 4] & 63],
        _ => [
            (packed[i + 4] & 15) | ((packed[i - 4] >> 6) << 4),
            (packed[i + 4] >> 4) | ((packed[i] >> 6) << 4),
        ],
    }
}

/// The blocks of a row, numbered.
fn blocks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8; N])> {
    bytes.as_chunks::<N>().0.iter().enumerate()
}

/// Low nibbles are inputs 0..16, high ones 16..32.
#[inline]
fn nibbles(bytes: &[u8; 16]) -> Quants {
    std::array::from_fn(|i| if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 })
}

/// With bit `i` of `bits` as bit 4 of quant `i`.
#[inline]
fn fifth(quants: Quants, bits: [u8; 4]) -> Quants {
    let bits = u32::from_le_bytes(bits);
    std::array::from_fn(|i| quants[i] | ((((bits >> i) & 1) as u8) << 4))
}

const _: () = assert!(LINE == 4 * ROWS, "a register holds 4 inputs of each row");
