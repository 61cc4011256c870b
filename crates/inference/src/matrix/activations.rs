use super::Matrix;
use super::dispatch::dispatch;
use super::isa::Isa;
use super::layout::{BLOCK, Weights};

/// Rows of a panel: those that a kernel takes in one pass, most of the time.
pub(super) const PANEL: usize = 8;

/// 32 activations of one row as integers, with what the kernels need beside them, on one cache
/// line of its own.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Block {
    /// The activations in units of `scale`, -127 to 127.
    pub(super) q: [i8; BLOCK],
    /// The largest magnitude / 127.
    pub(super) scale: f32,
    /// `scale` x the sum of `q`: what a weight's minimum is multiplied by.
    pub(super) sum: f32,
    /// What takes the offset of unsigned weights out again: -8 x the sum of `q`.
    pub(super) less8: i32,
    /// -16 x the sum.
    pub(super) less16: i32,
    /// -128 x the sum.
    pub(super) less128: i32,
    /// -32 x the sums of inputs 0..16 and 16..32.
    pub(super) less32: [i32; 2],
}

impl Block {
    const ZERO: Self = Self {
        q: [0; BLOCK],
        scale: 0.0,
        sum: 0.0,
        less8: 0,
        less16: 0,
        less128: 0,
        less32: [0; 2],
    };
}

/// Rows of activations, prepared for [`multiply`](super::multiply): as integers per block of 32
/// for quantised weights, as they are for float weights. A buffer to be used again and again.
///
/// Rows lie in panels of 8; a panel is read from its beginning to its end by a kernel.
#[derive(Clone, Debug, Default)]
pub struct Activations {
    rows: usize,
    cols: usize,
    // Panel by panel; block by block; row by row. Empty if not asked for.
    blocks: Vec<Block>,
    // Panel by panel; input by input; row by row. Empty if not asked for.
    values: Vec<f32>,
}

/// Up to 8 rows of activations.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    pub(super) rows: usize,
    pub(super) blocks: &'a [Block],
    pub(super) values: &'a [f32],
}

impl Activations {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes `n` rows of `cols` activations, one after the other in `x`, for a multiplication
    /// with `matrices`. Integers are the multiples of the block's largest magnitude / 127 that
    /// are nearest (to even, if there are two).
    ///
    /// # Panics
    /// If `x` has not `n x cols` values, or a matrix has not `cols` inputs.
    pub fn quantize(&mut self, isa: Isa, x: &[f32], n: usize, cols: usize, matrices: &[&Matrix]) {
        assert_eq!(x.len(), n * cols, "{n} rows of {cols} activations");
        let (mut integers, mut floats) = (false, false);
        for matrix in matrices {
            assert_eq!(matrix.cols(), cols, "the inputs of a matrix");
            match matrix.format().weights() {
                Weights::Integers(..) => integers = true,
                Weights::Floats(_) => floats = true,
            }
        }
        (self.rows, self.cols) = (n, cols);
        let blocks = if integers { n * cols / BLOCK } else { 0 };
        self.blocks.resize(blocks, Block::ZERO);
        self.values.resize(if floats { n * cols } else { 0 }, 0.0);
        for (panel, x) in x.chunks(PANEL * cols.max(1)).enumerate() {
            let rows = x.len() / cols;
            for (row, x) in x.chunks_exact(cols).enumerate() {
                if integers {
                    let panel = &mut self.blocks[panel * PANEL * (cols / BLOCK)..];
                    quantize_row(isa, x, &mut panel[row..], rows);
                }
                if floats {
                    let panel = &mut self.values[panel * PANEL * cols..];
                    for (value, x) in panel[row..].iter_mut().step_by(rows).zip(x) {
                        *value = *x;
                    }
                }
            }
        }
    }

    /// Rows that it holds.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Activations of a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Panels of rows.
    pub(super) fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL)
    }

    /// One panel, for weights that are floats or not.
    #[inline]
    pub(super) fn panel(&self, panel: usize, floats: bool) -> Panel<'_> {
        let first = panel * PANEL;
        let rows = (self.rows - first).min(PANEL);
        let blocks = self.cols / BLOCK;
        if floats {
            let values = &self.values[first * self.cols..][..rows * self.cols];
            Panel { rows, blocks: &[], values }
        } else {
            Panel { rows, blocks: &self.blocks[first * blocks..][..rows * blocks], values: &[] }
        }
    }
}

dispatch! {
    /// Writes the blocks of one row to every `stride`-th of `blocks`.
    fn quantize_row(x: &[f32], blocks: &mut [Block], stride: usize) = quantize_blocks;
}

#[inline(always)]
fn quantize_blocks(x: &[f32], blocks: &mut [Block], stride: usize) {
    for (x, block) in x.as_chunks::<BLOCK>().0.iter().zip(blocks.iter_mut().step_by(stride)) {
        *block = quantize_block(x);
    }
}

/// Below this a block counts as zeros: 127 / it must be finite.
const LEAST: f32 = 1e-30;
/// Added to a number of magnitude below 2^22, it leaves the nearest integer (to even) in the
/// lowest bits of the sum.
const ROUND: f32 = 12_582_912.0;

#[inline(always)]
fn quantize_block(x: &[f32; BLOCK]) -> Block {
    // Half, half, half ..: an order that vectors can follow.
    let mut largest: [f32; BLOCK] = std::array::from_fn(|i| x[i].abs());
    let mut len = BLOCK / 2;
    while len > 0 {
        for i in 0..len {
            let other = largest[i + len];
            largest[i] = if largest[i] > other { largest[i] } else { other };
        }
        len /= 2;
    }
    let (scale, inverse) =
        if largest[0] < LEAST { (0.0, 0.0) } else { (largest[0] / 127.0, 127.0 / largest[0]) };
    let q: [i8; BLOCK] = std::array::from_fn(|i| (x[i] * inverse + ROUND).to_bits() as i8);
    let sum = |half: &[i8]| half.iter().map(|&q| i32::from(q)).sum::<i32>();
    let halves = [sum(&q[..BLOCK / 2]), sum(&q[BLOCK / 2..])];
    let sum = halves[0] + halves[1];
    Block {
        q,
        scale,
        sum: scale * sum as f32,
        less8: -8 * sum,
        less16: -16 * sum,
        less128: -128 * sum,
        less32: halves.map(|half| -32 * half),
    }
}
