//! The keys and values of past tokens, as f16 in pages.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::ledger::{PAGE, PageId};

/// The widest run of values that the attention kernels take at once: heads are padded to it.
pub const LANES: usize = 16;

/// One buffer for all pages. It is zeroed by the system, page by page as it is first written, so
/// memory is used as the cache fills.
///
/// A page holds, for each layer and each key-value head, the keys as `[head_dim][PAGE]` (so that
/// scores come out 16 tokens at a time) and the values as `[PAGE][padded head_dim]`.
#[derive(Debug)]
pub struct Store {
    data: Vec<u16>,
    layers: usize,
    heads: usize,
    head_dim: usize,
    row: Vec<f32>,
    half: Vec<f16>,
}

/// The values of a head, padded with zeros to whole vectors.
pub fn padded(head_dim: usize) -> usize {
    head_dim.next_multiple_of(LANES)
}

/// Bytes that one page takes.
pub fn page_bytes(layers: usize, heads: usize, head_dim: usize) -> usize {
    2 * layers * heads * PAGE * (head_dim + padded(head_dim))
}

impl Store {
    /// Room for `pages` pages; `None` if the memory is not to be had.
    pub fn new(pages: usize, layers: usize, heads: usize, head_dim: usize) -> Option<Self> {
        let len = pages.checked_mul(page_bytes(layers, heads, head_dim) / 2)?;
        // Asks first, since `vec![0; len]`, which leaves the zeroing to the system, aborts.
        Vec::<u16>::new().try_reserve_exact(len).ok()?;
        let (row, half) = (vec![0.0; head_dim], vec![f16::ZERO; head_dim]);
        Some(Self { data: vec![0; len], layers, heads, head_dim, row, half })
    }

    fn page_len(&self) -> usize {
        page_bytes(self.layers, self.heads, self.head_dim) / 2
    }

    fn offset(&self, page: PageId, layer: usize, head: usize) -> usize {
        let head_len = PAGE * (self.head_dim + padded(self.head_dim));
        page as usize * self.page_len() + (layer * self.heads + head) * head_len
    }

    /// Keys `[head_dim][PAGE]` and values `[PAGE][padded]` of one head.
    pub fn head(&self, page: PageId, layer: usize, head: usize) -> (&[u16], &[u16]) {
        let at = self.offset(page, layer, head);
        let len = PAGE * (self.head_dim + padded(self.head_dim));
        self.data[at..at + len].split_at(PAGE * self.head_dim)
    }

    /// Writes the keys and values of all heads of one token, `[heads][head_dim]` each. They are
    /// held within what f16 can say, so that what is read back is always finite.
    pub fn put(&mut self, page: PageId, layer: usize, at: usize, keys: &[f32], values: &[f32]) {
        let (dim, wide) = (self.head_dim, padded(self.head_dim));
        for head in 0..self.heads {
            let start = self.offset(page, layer, head);
            self.convert(&keys[head * dim..(head + 1) * dim]);
            let column = self.data[start + at..].iter_mut().step_by(PAGE);
            for (to, from) in column.zip(&self.half) {
                *to = from.to_bits();
            }
            self.convert(&values[head * dim..(head + 1) * dim]);
            let start = start + PAGE * dim + at * wide;
            for (to, from) in self.data[start..start + dim].iter_mut().zip(&self.half) {
                *to = from.to_bits();
            }
        }
    }

    fn convert(&mut self, values: &[f32]) {
        let most = f32::from(f16::MAX);
        for (to, &from) in self.row.iter_mut().zip(values) {
            // Not `clamp`, which lets NaN through.
            *to = from.max(-most).min(most);
        }
        self.half.convert_from_f32_slice(&self.row);
    }

    /// Copies a page.
    pub fn copy(&mut self, from: PageId, to: PageId) {
        let len = self.page_len();
        let from = from as usize * len;
        self.data.copy_within(from..from + len, to as usize * len);
    }
}
