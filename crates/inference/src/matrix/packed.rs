use half::{bf16, f16};

use crate::gguf::Type;

use super::layout::{BLOCK, Float, Format, ROWS, Weights};
use super::scale::meaning;
use super::source::pack_row;
use super::storage::Storage;
use super::tile::get;

/// Inputs of the widest matrix that is packed: far more than any model has.
const MOST_COLS: usize = 1 << 24;

/// Why a tensor cannot be packed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// There are no kernels for its type.
    #[error("weights of type {0} are not run by the native engine")]
    Type(Type),
    /// Its rows are no whole blocks, or there are none, or too many.
    #[error("{rows} x {cols} weights of type {ty} cannot be packed: rows must be 1 to 16777216 weights in whole blocks of {}", ty.block())]
    Shape {
        /// Its type.
        ty: Type,
        /// Its rows.
        rows: usize,
        /// Inputs of a row.
        cols: usize,
    },
    /// The bytes are not those of its rows.
    #[error("{found} bytes of weights, expected {expected}")]
    Bytes {
        /// Bytes that there are.
        found: usize,
        /// Bytes that there must be; with [`Packer::push`], a multiple of this, up to the last row.
        expected: usize,
    },
    /// The system does not give the memory.
    #[error("no memory for {0} bytes of weights")]
    Memory(usize),
}

/// Weights of `rows` outputs x `cols` inputs, packed for the kernels.
#[derive(Clone, Debug)]
pub struct Matrix {
    format: Format,
    rows: usize,
    cols: usize,
    storage: Storage,
}

/// A matrix that is being packed, from pieces of whole rows.
#[derive(Debug)]
pub struct Packer {
    matrix: Matrix,
    row_bytes: usize,
    /// Rows packed so far.
    packed: usize,
}

impl Packer {
    /// Takes the next rows, as they stand in the file: any number of whole rows.
    ///
    /// # Errors
    /// If the bytes are not whole rows, or there are more rows than the matrix has; nothing of
    /// them is packed then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        let left = (self.matrix.rows - self.packed) * self.row_bytes;
        if !bytes.len().is_multiple_of(self.row_bytes) || bytes.len() > left {
            let expected = if bytes.len() > left { left } else { self.row_bytes };
            return Err(PackError::Bytes { found: bytes.len(), expected });
        }
        let size = self.matrix.format.group(self.matrix.cols);
        for row in bytes.chunks_exact(self.row_bytes) {
            let (group, place) = (self.packed / ROWS, self.packed % ROWS);
            let all = self.matrix.storage.bytes_mut();
            pack_row(self.matrix.format, &mut all[group * size..][..size], place, row);
            self.packed += 1;
        }
        Ok(())
    }

    /// The matrix.
    ///
    /// # Errors
    /// If rows are missing.
    pub fn finish(self) -> Result<Matrix, PackError> {
        if self.packed < self.matrix.rows {
            let expected = self.matrix.rows * self.row_bytes;
            return Err(PackError::Bytes { found: self.packed * self.row_bytes, expected });
        }
        Ok(self.matrix)
    }
}

impl Matrix {
    /// Packs a tensor of `rows` rows of `cols` weights each, `bytes` as they stand in the file.
    ///
    /// # Errors
    /// If its type has no kernels, a row is no whole blocks, or `bytes` are not those of its rows.
    pub fn pack(ty: Type, rows: usize, cols: usize, bytes: &[u8]) -> Result<Self, PackError> {
        let mut packer = Self::packer(ty, rows, cols)?;
        packer.push(bytes)?;
        packer.finish()
    }

    /// Packs a tensor from pieces: beside the packed matrix, only the piece at hand is in memory.
    ///
    /// # Errors
    /// If its type has no kernels, a row is no whole blocks, or there is no memory.
    pub fn packer(ty: Type, rows: usize, cols: usize) -> Result<Packer, PackError> {
        let format = Format::of(ty).ok_or(PackError::Type(ty))?;
        let shape = PackError::Shape { ty, rows, cols };
        if rows == 0 || cols == 0 || cols > MOST_COLS || !cols.is_multiple_of(ty.block()) {
            return Err(shape);
        }
        let row_bytes = cols / ty.block() * ty.block_bytes();
        let len = rows.div_ceil(ROWS).checked_mul(format.group(cols)).ok_or(shape)?;
        let storage = Storage::zeroed(len).ok_or(PackError::Memory(len))?;
        let matrix = Self { format, rows, cols, storage };
        Ok(Packer { matrix, row_bytes, packed: 0 })
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of memory that it holds.
    pub fn bytes(&self) -> usize {
        self.storage.bytes().len()
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Groups of rows; the last one is filled up with rows of zeros.
    pub(super) fn groups(&self) -> usize {
        self.rows.div_ceil(ROWS)
    }

    /// The bytes of a group.
    pub(super) fn group(&self, group: usize) -> &[u8] {
        let size = self.format.group(self.cols);
        &self.storage.bytes()[group * size..][..size]
    }

    /// Writes the weights of row `row` to `out`: the very values that the file's format means.
    ///
    /// # Panics
    /// If there is no such row, or `out` is not one row long.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert_eq!(out.len(), self.cols, "a row has one value per input");
        let (group, row) = (self.group(row / ROWS), row % ROWS);
        match self.format.weights() {
            Weights::Floats(float) => {
                let values = group.chunks_exact(float.bytes()).skip(row).step_by(ROWS);
                for (out, value) in out.iter_mut().zip(values) {
                    *out = read(float, value);
                }
            }
            Weights::Integers(bits, scales) => {
                for (tile, out) in out.chunks_exact_mut(BLOCK).enumerate() {
                    let place = scales.place(bits, tile);
                    let meaning = meaning(scales, group, place, row);
                    let quants = get(bits, &group[place.quants..], row);
                    for (i, (out, quant)) in out.iter_mut().zip(quants).enumerate() {
                        let quant = i16::from(quant) - i16::from(meaning.offset);
                        let scale = meaning.scale[i / (BLOCK / 2)];
                        *out = f32::from(quant) * scale + meaning.minimum;
                    }
                }
            }
        }
    }
}

/// One value of a float format.
pub(super) fn read(float: Float, bytes: &[u8]) -> f32 {
    match (float, bytes) {
        (Float::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
        (Float::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
        (Float::Bf16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
        _ => f32::NAN,
    }
}
