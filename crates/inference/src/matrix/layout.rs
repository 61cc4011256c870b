//! Where everything lies in a packed matrix.
//!
//! A *group* is 16 rows, a *tile* 16 rows x 32 inputs: one block of each row. The tiles of a group
//! lie behind each other, each with its scales before it, and groups likewise, so that a product
//! reads one stream from its beginning to its end: memory gives that twice as fast as two streams.
//! Everything that a register is loaded from lies on whole cache lines:
//!
//! - A line of scales stands before each tile, or before every second one if it serves two.
//! - A line of factors stands before that where 8 tiles have factors in common.
//! - Then come the quants of the tile.
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

use super::kernel::{Kernel, Kernels};
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
    /// `scale x (quant - offset)`, with the offset of the format. A line of scales serves two
    /// tiles.
    Offset(u8),
    /// `scale x quant + minimum`: a line of scales and minima for each tile.
    Minimum,
    /// Per 8 tiles factors `d` and `e`, then per tile bytes `s` and `m`, two tiles to a line:
    /// `d s x quant - e m`.
    SuperMinimum,
    /// Per 8 tiles factors `d`, then per tile signed bytes `s` for inputs 0..16 and for inputs
    /// 16..32, two tiles to a line: `d s x (quant - 32)`.
    SuperHalves,
}

impl Scales {
    /// Whether 8 tiles have factors in common.
    pub(super) const fn has_factors(self) -> bool {
        matches!(self, Self::SuperMinimum | Self::SuperHalves)
    }

    /// Tiles that a line of scales serves.
    pub(super) const fn tiles(self) -> usize {
        if matches!(self, Self::Minimum) { 1 } else { 2 }
    }

    /// Where what belongs to a tile begins in its group.
    #[inline(always)]
    pub(super) const fn place(self, bits: Bits, tile: usize) -> Place {
        let served = tile / self.tiles();
        let factor_lines = if self.has_factors() { tile / TILES + 1 } else { 0 };
        let quants = (factor_lines + served + 1) * LINE + tile * bits.bytes();
        // Lines and tiles between the quants and what stands before them.
        let scales = quants - tile % self.tiles() * bits.bytes() - LINE;
        let super_tile = tile % TILES;
        let factors = quants
            - super_tile * bits.bytes()
            - (super_tile / self.tiles() + 1) * LINE
            - if self.has_factors() { LINE } else { 0 };
        let scales = scales + tile % self.tiles() * (LINE / self.tiles());
        Place { factors, scales, quants }
    }
}

/// Where what belongs to a tile begins in its group, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The line of factors; of no meaning where there are none.
    pub(super) factors: usize,
    /// This tile's part of the line of scales.
    pub(super) scales: usize,
    pub(super) quants: usize,
}

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

/// How the weights of a group are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weights {
    /// Quants and their scales.
    Integers(Bits, Scales),
    /// Floats as they are.
    Floats(Float),
}

/// A format of quants, for kernels that are compiled for each.
pub(super) trait Integers {
    const BITS: Bits;
    const SCALES: Scales;
}

/// A format of floats, for kernels that are compiled for each.
pub(super) trait Floats {
    const FLOAT: Float;
}

/// The formats, as values and as types: bits and scales of each.
macro_rules! formats {
    (
        integers { $($integers:ident = $bits:ident, $scales:expr;)+ }
        floats { $($float:ident;)+ }
    ) => {
        /// The formats that are packed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Format {
            $($integers,)+
            $($float,)+
        }

        $(
            pub(super) struct $integers;
            impl Integers for $integers {
                const BITS: Bits = Bits::$bits;
                const SCALES: Scales = $scales;
            }
        )+
        $(
            pub(super) struct $float;
            impl Floats for $float {
                const FLOAT: Float = Float::$float;
            }
        )+

        impl Format {
            /// That of a tensor; `None` if its type is not packed.
            pub(super) const fn of(ty: Type) -> Option<Self> {
                match ty {
                    $(Type::$integers => Some(Self::$integers),)+
                    $(Type::$float => Some(Self::$float),)+
                    _ => None,
                }
            }

            /// How its weights are stored.
            pub(super) const fn weights(self) -> Weights {
                match self {
                    $(Self::$integers => Weights::Integers(Bits::$bits, $scales),)+
                    $(Self::$float => Weights::Floats(Float::$float),)+
                }
            }

            /// The kernel that `K` has for it.
            pub(super) fn kernel<K: Kernels>(self) -> Kernel {
                match self {
                    $(Self::$integers => K::integers::<$integers>(),)+
                    $(Self::$float => K::floats::<$float>(),)+
                }
            }
        }
    };
}

formats! {
    integers {
        Q4_0 = Four, Scales::Offset(8);
        Q4_1 = Four, Scales::Minimum;
        Q5_0 = Five, Scales::Offset(16);
        Q5_1 = Five, Scales::Minimum;
        Q8_0 = Eight, Scales::Offset(128);
        Q4K = Four, Scales::SuperMinimum;
        Q5K = Five, Scales::SuperMinimum;
        Q6K = Six, Scales::SuperHalves;
    }
    floats {
        F32;
        F16;
        Bf16;
    }
}

impl Format {
    /// Bytes of one group of rows with `cols` inputs, 1 block at least. Whole cache lines.
    pub(super) const fn group(self, cols: usize) -> usize {
        match self.weights() {
            Weights::Floats(float) => (cols * ROWS * float.bytes()).next_multiple_of(LINE),
            Weights::Integers(bits, scales) => {
                scales.place(bits, cols / BLOCK - 1).quants + bits.bytes()
            }
        }
    }
}
