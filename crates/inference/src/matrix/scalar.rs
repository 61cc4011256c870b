//! Plain Rust: what the other kernels must give, bit for bit.
//!
//! Per block and row of activations, in this order and with these roundings: the products of
//! integers are summed exactly and the offset taken out; the sum is multiplied with the scale of
//! the activations; that is multiplied with the scale of the weights and added in one rounding;
//! the minimum likewise. Floats are multiplied and added in one rounding, even inputs into one
//! sum, odd ones into another, and the two are added.

use super::activations::Panel;
use super::kernel::{Group, Kernel, Kernels, Products};
use super::layout::{BLOCK, Floats, Integers, ROWS, Scales};
use super::packed::read;
use super::scale::meaning;
use super::tile::get;

pub(super) struct Scalar;

impl Kernels for Scalar {
    fn integers<F: Integers>() -> Kernel {
        integers::<F>
    }

    fn floats<F: Floats>() -> Kernel {
        floats::<F>
    }
}

fn integers<F: Integers>(group: &Group<'_>, panel: &Panel<'_>, out: &mut Products) {
    let (bits, scales) = (F::BITS, F::SCALES);
    let out = &mut out[..panel.rows];
    out.fill([0.0; ROWS]);
    for (tile, blocks) in panel.blocks.chunks_exact(panel.rows).enumerate() {
        let place = scales.place(bits, tile);
        for row in 0..ROWS {
            let quants = get(bits, &group.bytes[place.quants..], row);
            let meaning = meaning(scales, group.bytes, place, row);
            let offset = i32::from(meaning.offset);
            for (out, block) in out.iter_mut().zip(blocks) {
                let products = |inputs: std::ops::Range<usize>| -> i32 {
                    let quants = quants[inputs.clone()].iter();
                    let products = quants.zip(&block.q[inputs]);
                    products.map(|(&w, &a)| (i32::from(w) - offset) * i32::from(a)).sum()
                };
                let mut sum = out[row];
                if scales == Scales::SuperHalves {
                    let low = products(0..BLOCK / 2) as f32 * block.scale;
                    let high = products(BLOCK / 2..BLOCK) as f32 * block.scale;
                    sum = low.mul_add(meaning.scale[0], sum);
                    sum = high.mul_add(meaning.scale[1], sum);
                } else {
                    let product = products(0..BLOCK) as f32 * block.scale;
                    sum = product.mul_add(meaning.scale[0], sum);
                }
                if matches!(scales, Scales::Minimum | Scales::SuperMinimum) {
                    sum = meaning.minimum.mul_add(block.sum, sum);
                }
                out[row] = sum;
            }
        }
    }
}

fn floats<F: Floats>(group: &Group<'_>, panel: &Panel<'_>, out: &mut Products) {
    let size = F::FLOAT.bytes();
    for (m, out) in out[..panel.rows].iter_mut().enumerate() {
        let mut sums = [[0.0f32; ROWS]; 2];
        let weights = group.bytes.chunks_exact(ROWS * size).take(group.cols);
        for (input, weights) in weights.enumerate() {
            let value = panel.values[input * panel.rows + m];
            for (sum, weight) in sums[input % 2].iter_mut().zip(weights.chunks_exact(size)) {
                *sum = read(F::FLOAT, weight).mul_add(value, *sum);
            }
        }
        *out = std::array::from_fn(|row| sums[0][row] + sums[1][row]);
    }
}
