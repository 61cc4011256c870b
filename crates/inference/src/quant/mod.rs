//! The number formats of weights, as ggml defines them (`ggml-common.h`, `ggml-quants.c`): the
//! values that stored bytes stand for, and simple ways back.
//!
//! This is the reference that the kernels are held against; it need not be fast.

mod dequantize;
mod quantize;

pub use dequantize::dequantize;
pub use quantize::quantize;

use crate::gguf::Type;

/// Why bytes cannot be taken for values, or values not be made bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The format is known by name only.
    #[error("values of type {0} are not read or written here")]
    Unsupported(Type),
    /// The sizes do not fit: whole blocks are needed.
    #[error("{values} values of type {ty} do not fit {bytes} bytes")]
    Size {
        /// The format.
        ty: Type,
        /// Values.
        values: usize,
        /// Bytes.
        bytes: usize,
    },
}

/// Scale and minimum of sub-block `index` (0..8) in the 12 bytes of a Q4_K or Q5_K block: 6 bits
/// each, the upper two of the last four packed above the first four.
fn scale_and_minimum(packed: &[u8], index: usize) -> (u8, u8) {
    if index < 4 {
        (packed[index] & 63, packed[index + 4] & 63)
    } else {
        let (low, high) = (packed[index + 4], (packed[index - 4] >> 6, packed[index] >> 6));
        (low & 15 | high.0 << 4, low >> 4 | high.1 << 4)
    }
}
