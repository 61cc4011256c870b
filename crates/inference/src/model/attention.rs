//! Attention of new tokens to those before them.
//!
//! One block is some rows of one sequence and one key-value head with all query heads that share
//! it, so that a page is widened from f16 once for all of them. A query goes through its pages in
//! the order of their positions with a running maximum and sum (Milakov and Gimelshein, "Online
//! normalizer calculation for softmax"), so what it gets does not depend on the block it is in.

use super::kv::{LANES, PAGE, PageId, Store, padded};
use super::simd::{exp, fetch, maximum, per_isa, sum};

/// Queries that go through a page together, each value of the page being loaded once for all.
const TOGETHER: usize = 4;

/// Rows of one block at most.
pub const ROWS: usize = 16;

/// The queries of one block and what they have seen so far. Kept from step to step.
#[derive(Debug, Default)]
pub struct Block {
    /// Place in the sequence of each query.
    positions: Vec<usize>,
    /// `[queries / TOGETHER][head_dim][TOGETHER]`, scaled; the last group is as wide as it needs.
    queries: Vec<f32>,
    largest: Vec<f32>,
    total: Vec<f32>,
    /// `[queries][padded head_dim]`: sums of values, then the result.
    out: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// Where the past of a block's sequence is.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    /// All pages.
    pub store: &'a Store,
    /// The pages of the sequence.
    pub table: &'a [PageId],
    /// Which layer.
    pub layer: usize,
    /// Which key-value head.
    pub head: usize,
    /// The first page and the head of the block that is likely next: fetched meanwhile.
    pub next: Option<(PageId, usize)>,
}

impl Block {
    /// Takes `count` queries of `head_dim` values: `query(i)` is the i-th one and its position.
    /// Positions do not fall.
    pub fn set<'a>(
        &mut self,
        count: usize,
        head_dim: usize,
        query: impl Fn(usize) -> (usize, &'a [f32]),
    ) {
        let scale = 1.0 / (head_dim as f32).sqrt();
        let wide = padded(head_dim);
        self.positions.clear();
        self.queries.resize(count * head_dim, 0.0);
        for i in 0..count {
            let (position, values) = query(i);
            self.positions.push(position);
            let first = i / TOGETHER * TOGETHER;
            let group = TOGETHER.min(count - first);
            let column = self.queries[first * head_dim + i - first..].iter_mut().step_by(group);
            for (to, from) in column.zip(values) {
                *to = from * scale;
            }
        }
        self.largest.clear();
        self.largest.resize(count, f32::NEG_INFINITY);
        self.total.clear();
        self.total.resize(count, 0.0);
        self.out.clear();
        self.out.resize(count * wide, 0.0);
        self.keys.resize(PAGE * head_dim, 0.0);
        self.values.resize(PAGE * wide, 0.0);
    }

    /// The result of the i-th query.
    pub fn result(&self, i: usize, head_dim: usize) -> &[f32] {
        let wide = padded(head_dim);
        &self.out[i * wide..i * wide + head_dim]
    }
}

per_isa! {
    /// Attends from the queries of `block` to the past, each to its own position and all before.
    pub(super) fn attend(block: &mut Block, past: Past<'_>, head_dim: usize) = attend_block
}

#[inline(always)]
fn attend_block<const W: usize>(block: &mut Block, past: Past<'_>, head_dim: usize) {
    let wide = padded(head_dim);
    let tokens = block.positions.last().map_or(0, |position| position + 1);
    let table = &past.table[..tokens.div_ceil(PAGE).min(past.table.len())];
    for (number, &page) in table.iter().enumerate() {
        // Pages are far from each other: the processor does not find the next one by itself.
        let next = table.get(number + 1).map(|&page| (page, past.head)).or(past.next);
        let next = next.map(|(page, head)| past.store.head(page, past.layer, head));
        let (keys, values) = past.store.head(page, past.layer, past.head);
        let start = number * PAGE;
        let used = (tokens - start).min(PAGE) * wide;
        if let Some((keys, _)) = next {
            fetch(keys);
        }
        widen(keys, &mut block.keys);
        if let Some((_, values)) = next {
            fetch(values);
        }
        widen(&values[..used], &mut block.values);
        let groups =
            block.positions.chunks(TOGETHER).zip(block.queries.chunks(TOGETHER * head_dim));
        let seen = block.largest.chunks_mut(TOGETHER).zip(block.total.chunks_mut(TOGETHER));
        let out = block.out.chunks_mut(TOGETHER * wide);
        for (((positions, queries), (largest, total)), out) in groups.zip(seen).zip(out) {
            if positions.last().is_none_or(|&position| position < start) {
                continue;
            }
            let page = Page { keys: &block.keys, values: &block.values, start, wide };
            match positions.len() {
                4 => group::<W, 4>(positions, queries, &page, largest, total, out),
                3 => group::<W, 3>(positions, queries, &page, largest, total, out),
                2 => group::<W, 2>(positions, queries, &page, largest, total, out),
                _ => group::<W, 1>(positions, queries, &page, largest, total, out),
            }
        }
    }
    for (out, total) in block.out.chunks_exact_mut(wide).zip(&block.total) {
        let scale = 1.0 / total;
        for out in out {
            *out *= scale;
        }
    }
}

/// A page as f32.
struct Page<'a> {
    keys: &'a [f32],
    values: &'a [f32],
    start: usize,
    wide: usize,
}

/// `M` queries and one page.
#[inline(always)]
fn group<const W: usize, const M: usize>(
    positions: &[usize],
    queries: &[f32],
    page: &Page<'_>,
    largest: &mut [f32],
    total: &mut [f32],
    out: &mut [f32],
) {
    let mut p = [[0.0f32; PAGE]; M];
    for first in (0..PAGE).step_by(W) {
        scores::<W, M>(queries, page.keys, first, &mut p);
    }
    let mut seen = 0;
    for m in 0..M {
        let visible = (positions[m] + 1).saturating_sub(page.start).min(PAGE);
        seen = seen.max(visible);
        let p = &mut p[m];
        for (t, p) in p.iter_mut().enumerate() {
            *p = if t < visible { *p } else { f32::NEG_INFINITY };
        }
        let most = largest[m].max(maximum(p));
        let shrink = exp(largest[m] - most);
        // The power is taken of all, what is not seen is dropped after: no branch in the loop.
        // Plain loops: closures are not compiled for the instruction set if they are not inlined.
        for p in p.iter_mut() {
            *p = exp(*p - most);
        }
        for (t, p) in p.iter_mut().enumerate() {
            *p = if t < visible { *p } else { 0.0 };
        }
        largest[m] = most;
        total[m] = total[m].mul_add(shrink, sum(p));
        for out in &mut out[m * page.wide..(m + 1) * page.wide] {
            *out *= shrink;
        }
    }
    let mut first = 0;
    while first + W <= page.wide {
        weigh::<W, M>(&p, seen, page, first, out);
        first += W;
    }
    while first < page.wide {
        weigh::<LANES, M>(&p, seen, page, first, out);
        first += LANES;
    }
}

/// Products of `M` queries with the keys of `W` tokens from `first` on.
#[inline(always)]
fn scores<const W: usize, const M: usize>(
    queries: &[f32],
    keys: &[f32],
    first: usize,
    p: &mut [[f32; PAGE]; M],
) {
    let mut acc = [[0.0f32; W]; M];
    for (keys, queries) in keys.as_chunks::<PAGE>().0.iter().zip(queries.as_chunks::<M>().0) {
        let keys: [f32; W] = std::array::from_fn(|t| keys[first + t]);
        for (acc, &query) in acc.iter_mut().zip(queries) {
            for (acc, key) in acc.iter_mut().zip(keys) {
                *acc = query.mul_add(key, *acc);
            }
        }
    }
    for m in 0..M {
        p[m][first..first + W].copy_from_slice(&acc[m]);
    }
}

/// Adds the values of the first `seen` tokens, weighed by `p`, to channels `first..first + W`.
#[inline(always)]
fn weigh<const W: usize, const M: usize>(
    p: &[[f32; PAGE]; M],
    seen: usize,
    page: &Page<'_>,
    first: usize,
    out: &mut [f32],
) {
    let mut acc = [[0.0f32; W]; M];
    for m in 0..M {
        acc[m].copy_from_slice(&out[m * page.wide + first..][..W]);
    }
    for (t, values) in page.values.chunks_exact(page.wide).take(seen.min(PAGE)).enumerate() {
        let values: &[f32; W] = values[first..].first_chunk().expect("whole vectors");
        let values = *values;
        for (acc, p) in acc.iter_mut().zip(p) {
            let p = p[t];
            for (acc, value) in acc.iter_mut().zip(values) {
                *acc = p.mul_add(value, *acc);
            }
        }
    }
    for m in 0..M {
        out[m * page.wide + first..][..W].copy_from_slice(&acc[m]);
    }
}

/// f16 to f32, exact for finite values: the exponent is moved and its bias put right by a
/// product, which does subnormal numbers as well.
#[inline(always)]
fn widen(from: &[u16], to: &mut [f32]) {
    /// 2 to the difference of the two biases.
    const BIAS: f32 = (1u128 << 112) as f32;
    for (to, &from) in to.iter_mut().zip(from) {
        let bits = u32::from(from);
        let value = f32::from_bits((bits & 0x7fff) << 13) * BIAS;
        *to = f32::from_bits(value.to_bits() | (bits & 0x8000) << 16);
    }
}

#[cfg(test)]
mod tests;
