//! Plain Rust: what the other kernels must give, bit for bit.
//!
//! Per block and row of activations, in this order and with these roundings: the products of
//! integers are summed exactly and the offset taken out; the sum is multiplied with the scale of
//! the activations; that is multiplied with the scale of the weights and added in one rounding;
//! the minimum likewise. Floats are multiplied and added in one rounding, even inputs into one
//! sum, odd ones into another, and the two are added.

use super::activations::Panel;
use super::kernel::{Group, Kernel, Products};
use super::layout::{BLOCK, Bits, Float, Format, ROWS, Scales};
use super::packed::read;
use super::scale::meaning;
use super::tile::get;

pub(super) fn kernel(format: Format) -> Kernel {
    match format {
        Format::Float(Float::F32) => |group, panel, out| floats(Float::F32, group, panel, out),
        Format::Float(Float::F16) => |group, panel, out| floats(Float::F16, group, panel, out),
        Format::Float(Float::Bf16) => |group, panel, out| floats(Float::Bf16, group, panel, out),
        Format::Q4_0 => |group, panel, out| integers(Format::Q4_0, group, panel, out),
        Format::Q4_1 => |group, panel, out| integers(Format::Q4_1, group, panel, out),
        Format::Q5_0 => |group, panel, out| integers(Format::Q5_0, group, panel, out),
        Format::Q5_1 => |group, panel, out| integers(Format::Q5_1, group, panel, out),
        Format::Q8_0 => |group, panel, out| integers(Format::Q8_0, group, panel, out),
        Format::Q4K => |group, panel, out| integers(Format::Q4K, group, panel, out),
        Format::Q5K => |group, panel, out| integers(Format::Q5K, group, panel, out),
        Format::Q6K => |group, panel, out| integers(Format::Q6K, group, panel, out),
    }
}

#[inline(always)]
fn integers(format: Format, group: Group<'_>, panel: Panel<'_>, out: &mut Products) {
    let Ok((bits, scales)) = format.parts() else { return };
    let out = &mut out[..panel.rows];
    out.fill([0.0; ROWS]);
    let tiles = group.quants.chunks_exact(bits.bytes());
    for (index, (tile, blocks)) in tiles.zip(panel.blocks.chunks_exact(panel.rows)).enumerate() {
        for row in 0..ROWS {
            let quants = get(bits, tile, row);
            let meaning = meaning(scales, group.scales, index, row);
            let offset = if bits == Bits::Eight { 128 } else { i32::from(meaning.offset) };
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

#[inline(always)]
fn floats(float: Float, group: Group<'_>, panel: Panel<'_>, out: &mut Products) {
    let size = float.bytes();
    for (m, out) in out[..panel.rows].iter_mut().enumerate() {
        let mut sums = [[0.0f32; ROWS]; 2];
        let weights = group.quants.chunks_exact(ROWS * size).take(group.cols);
        for (input, weights) in weights.enumerate() {
            let value = panel.values[input * panel.rows + m];
            for (sum, weight) in sums[input % 2].iter_mut().zip(weights.chunks_exact(size)) {
                *sum = read(float, weight).mul_add(value, *sum);
            }
        }
        *out = std::array::from_fn(|row| sums[0][row] + sums[1][row]);
    }
}
