//! Where everything lies in a packed matrix.
//!
//! A *group* is 16 rows, a *tile* 16 rows x 32 inputs: one block of each row. Behind each other
//! lie, for every group, the scales of all its tiles and then the quants of all its tiles, so
//! that a group is two streams that are read once, in order, on whole cache lines.
//!
//! Quants of a tile are unsigned. Register `i` of its 8 registers holds, for each row, the 4
//! inputs from `4 i`: byte `4 row + k` is input `4 i + k`. Bits are stored as
//!
//! | bits | bytes | content |
//! |---|---|---|
//! | 8 | 512 | the 8 registers |
//! | 4 | 256 | 4 registers: low nibbles are register `i`, high ones register `i + 4` |
//! | 5 | 320 | the low 4 bits as above, then 64 bytes: bit `i` is bit 4 of register `i` |
//! | 6 | 384 | the low 4 bits as above, then 128 bytes: bits `2 i` of byte `p` are bits 4 and 5 of register `i`, those of byte `64 + p` of register `4 + i` |
//!
//! Weights that are floats lie in groups of 16 rows as well: for each input the 16 rows' values.

use crate::gguf::Type;

use super::storage::LINE;

/// Rows of a group.
pub(super) const ROWS: usize = 16;
/// Inputs of a tile.
pub(super) const BLOCK: usize = 32;
/// Registers of a tile: 16 rows x 4 inputs each.
pub(super) const REGISTERS: usize = 8;
/// Tiles of a super-block: 256 inputs.
pub(super) const TILES: usize = 8;

/// How many bits a quant has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bits {
    Four,
    Five,
    Six,
    Eight,
}

impl Bits {
    /// Bytes of a tile's quants.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Four => 256,
            Self::Five => 320,
            Self::Six => 384,
            Self::Eight => 512,
        }
    }
}

/// What makes a weight of a quant. Per tile: 16 of each, one per row; f16 unless said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scales {
    /// `scale x (quant - offset)`, with the offset of the format.
    Offset(u8),
    /// `scale x quant + minimum`: scales, then minima.
    Minimum,
    /// Per super-block factors `d` and `e`, then per tile bytes `s` and `m`:
    /// `d s x quant - e m`.
    SuperMinimum,
    /// Per super-block factors `d`, then per tile signed bytes `s` for inputs 0..16 and for
    /// inputs 16..32: `d s x (quant - 32)`.
    SuperHalves,
}

impl Scales {
    /// Bytes of `blocks` tiles' scales, padded to whole cache lines.
    pub(super) const fn bytes(self, blocks: usize) -> usize {
        let bytes = match self {
            Self::Offset(_) => blocks * 2 * ROWS,
            Self::Minimum => blocks * 4 * ROWS,
            Self::SuperMinimum => blocks / TILES * SUPER_MINIMUM,
            Self::SuperHalves => blocks / TILES * SUPER_HALVES,
        };
        bytes.next_multiple_of(LINE)
    }
}

/// Bytes of a super-block's scales: two f16 factors, then two bytes for each tile.
pub(super) const SUPER_MINIMUM: usize = 4 * ROWS + TILES * 2 * ROWS;
/// Bytes of a super-block's scales: one f16 factor, then two bytes for each tile.
pub(super) const SUPER_HALVES: usize = 2 * ROWS + TILES * 2 * ROWS;

/// How float weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Float {
    F32,
    F16,
    Bf16,
}

impl Float {
    /// Bytes of a value.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// The formats that are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Float(Float),
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

impl Format {
    /// That of a tensor; `None` if its type is not packed.
    pub(super) const fn of(ty: Type) -> Option<Self> {
        Some(match ty {
            Type::F32 => Self::Float(Float::F32),
            Type::F16 => Self::Float(Float::F16),
            Type::Bf16 => Self::Float(Float::Bf16),
            Type::Q4_0 => Self::Q4_0,
            Type::Q4_1 => Self::Q4_1,
            Type::Q5_0 => Self::Q5_0,
            Type::Q5_1 => Self::Q5_1,
            Type::Q8_0 => Self::Q8_0,
            Type::Q4K => Self::Q4K,
            Type::Q5K => Self::Q5K,
            Type::Q6K => Self::Q6K,
            _ => return None,
        })
    }

    /// Bits and scales; the kind of float where there are none.
    pub(super) const fn parts(self) -> Result<(Bits, Scales), Float> {
        Ok(match self {
            Self::Float(float) => return Err(float),
            Self::Q4_0 => (Bits::Four, Scales::Offset(8)),
            Self::Q4_1 => (Bits::Four, Scales::Minimum),
            Self::Q5_0 => (Bits::Five, Scales::Offset(16)),
            Self::Q5_1 => (Bits::Five, Scales::Minimum),
            Self::Q8_0 => (Bits::Eight, Scales::Offset(128)),
            Self::Q4K => (Bits::Four, Scales::SuperMinimum),
            Self::Q5K => (Bits::Five, Scales::SuperMinimum),
            Self::Q6K => (Bits::Six, Scales::SuperHalves),
        })
    }

    /// Bytes of one group of rows with `cols` inputs: scales, then quants. Whole cache lines.
    pub(super) const fn group(self, cols: usize) -> (usize, usize) {
        match self.parts() {
            Err(float) => (0, (cols * ROWS * float.bytes()).next_multiple_of(LINE)),
            Ok((bits, scales)) => {
                let blocks = cols / BLOCK;
                (scales.bytes(blocks), blocks * bits.bytes())
            }
        }
    }
}
