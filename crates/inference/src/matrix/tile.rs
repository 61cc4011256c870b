//! One row's block within a tile: how it is put there and read back.

use super::layout::{BLOCK, Bits, REGISTERS, ROWS};
use super::storage::LINE;

/// The quants of one row's block.
pub(super) type Quants = [u8; BLOCK];

/// Bytes of a row in one register.
const WORD: usize = 4;
/// The lowest `n` bits of each byte of a word, for bits 1 to 6.
const LOW: [u32; 7] =
    [0, 0x0101_0101, 0x0303_0303, 0x0707_0707, 0x0f0f_0f0f, 0x1f1f_1f1f, 0x3f3f_3f3f];

fn words(quants: &Quants) -> [u32; REGISTERS] {
    let (words, _) = quants.as_chunks::<WORD>();
    std::array::from_fn(|i| u32::from_le_bytes(words[i]))
}

fn store(tile: &mut [u8], register: usize, row: usize, word: u32) {
    tile[register * LINE + row * WORD..][..WORD].copy_from_slice(&word.to_le_bytes());
}

fn load(tile: &[u8], register: usize, row: usize) -> u32 {
    let at = register * LINE + row * WORD;
    u32::from_le_bytes([tile[at], tile[at + 1], tile[at + 2], tile[at + 3]])
}

/// Puts the quants of `row` into `tile`, which has the bytes of `bits`. Quants have no higher
/// bits than these.
#[inline]
pub(super) fn put(bits: Bits, tile: &mut [u8], row: usize, quants: &Quants) {
    debug_assert!(row < ROWS);
    let tile = &mut tile[..bits.bytes()];
    let words = words(quants);
    if bits == Bits::Eight {
        for (i, word) in words.into_iter().enumerate() {
            store(tile, i, row, word);
        }
        return;
    }
    for i in 0..4 {
        store(tile, i, row, (words[i] & LOW[4]) | ((words[i + 4] & LOW[4]) << 4));
    }
    let high = words.map(|word| (word >> 4) & LOW[2]);
    match bits {
        Bits::Five => {
            let bits = (0..REGISTERS).fold(0, |bits, i| bits | ((high[i] & LOW[1]) << i));
            store(tile, 4, row, bits);
        }
        Bits::Six => {
            for half in 0..2 {
                let bits = (0..4).fold(0, |bits, i| bits | (high[4 * half + i] << (2 * i)));
                store(tile, 4 + half, row, bits);
            }
        }
        Bits::Four | Bits::Eight => {}
    }
}

/// The quants of `row`, as they were put.
#[inline]
pub(super) fn get(bits: Bits, tile: &[u8], row: usize) -> Quants {
    let tile = &tile[..bits.bytes()];
    let word = |i: usize| {
        let low = (load(tile, i % 4, row) >> (4 * (i / 4))) & LOW[4];
        match bits {
            Bits::Four => low,
            Bits::Five => low | (((load(tile, 4, row) >> i) & LOW[1]) << 4),
            Bits::Six => low | (((load(tile, 4 + i / 4, row) >> (2 * (i % 4))) & LOW[2]) << 4),
            Bits::Eight => load(tile, i, row),
        }
    };
    let mut quants = [0; BLOCK];
    for (i, bytes) in quants.chunks_exact_mut(WORD).enumerate() {
        bytes.copy_from_slice(&word(i).to_le_bytes());
    }
    quants
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_is_got(rows in proptest::collection::vec(any::<[u8; BLOCK]>(), ROWS)) {
            for (bits, mask) in
                [(Bits::Four, 15), (Bits::Five, 31), (Bits::Six, 63), (Bits::Eight, 255)]
            {
                let mut tile = vec![0; bits.bytes()];
                let rows: Vec<Quants> = rows.iter().map(|row| row.map(|q| q & mask)).collect();
                for (row, quants) in rows.iter().enumerate() {
                    put(bits, &mut tile, row, quants);
                }
                for (row, quants) in rows.iter().enumerate() {
                    prop_assert_eq!(&get(bits, &tile, row), quants);
                }
            }
        }
    }
}
