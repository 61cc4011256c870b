//! Kernels for NEON with dot products: the tiles of AVX-512 in quarters of 4 rows. `sdot`
//! multiplies a register of weights (4 rows x 4 inputs) with 4 activations and adds each row's
//! products to its integer sum. The instruction has no stable intrinsic, nor has the conversion
//! of f16; both stand here as assembly.

use std::arch::aarch64::*;
use std::arch::asm;

use super::activations::{Block, Panel};
use super::kernel::{Group, Kernel, Kernels, Products};
use super::layout::{BLOCK, Bits, Float, Floats, Integers, REGISTERS, ROWS, Scales};
use super::storage::LINE;

/// Rows of a quarter.
const QUARTER: usize = 4;
/// Quarters of a tile.
const QUARTERS: usize = ROWS / QUARTER;

pub(super) struct Neon;

impl Kernels for Neon {
    fn integers<F: Integers>() -> Kernel {
        integers::<F>
    }

    fn floats<F: Floats>() -> Kernel {
        floats::<F>
    }
}

/// # Safety
/// The processor has NEON with dot products.
#[target_feature(enable = "neon,dotprod")]
unsafe fn integers<F: Integers>(group: &Group<'_>, panel: &Panel<'_>, out: &mut Products) {
    let mut first = 0;
    while first < panel.rows {
        // SAFETY: as for this function; each pass has as many rows as are left, at most.
        first += unsafe {
            match panel.rows - first {
                1 => pass::<F, 1>(group, panel, first, out),
                2 | 3 => pass::<F, 2>(group, panel, first, out),
                _ => pass::<F, 4>(group, panel, first, out),
            }
        };
    }
}

/// Multiplies a group with `M` rows of a panel, from row `first`. Returns `M`.
///
/// # Safety
/// The processor has NEON with dot products.
#[target_feature(enable = "neon,dotprod")]
unsafe fn pass<F: Integers, const M: usize>(
    group: &Group<'_>,
    panel: &Panel<'_>,
    first: usize,
    out: &mut Products,
) -> usize {
    let tiles = group.cols / BLOCK;
    let end = F::SCALES.place(F::BITS, tiles - 1).quants + F::BITS.bytes();
    assert!(group.bytes.len() >= end && first + M <= panel.rows);
    assert!(panel.blocks.len() >= tiles * panel.rows);
    let mut sums = [[vdupq_n_f32(0.0); M]; QUARTERS];
    // SAFETY: the tiles with their scales, and as many blocks of each row, are there, as just
    // asserted.
    unsafe {
        let mut blocks = panel.blocks.as_ptr().add(first);
        for tile in 0..tiles {
            let place = F::SCALES.place(F::BITS, tile);
            let base = group.bytes.as_ptr();
            for (quarter, sums) in sums.iter_mut().enumerate() {
                let row = quarter * QUARTER;
                let scale = scale::<F>(base.add(place.factors), base.add(place.scales), row);
                let weights = unpack::<F>(base.add(place.quants + 4 * row));
                for (m, sum) in sums.iter_mut().enumerate() {
                    *sum = add::<F>(*sum, &weights, scale, &*blocks.add(m));
                }
            }
            blocks = blocks.add(panel.rows);
        }
        for (quarter, sums) in sums.into_iter().enumerate() {
            for (sum, out) in sums.into_iter().zip(&mut out[first..]) {
                vst1q_f32(out[quarter * QUARTER..][..QUARTER].as_mut_ptr(), sum);
            }
        }
    }
    M
}

/// 4 f16 values.
///
/// # Safety
/// They are there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn float(at: *const u8) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: the caller says so; the instruction touches nothing but its registers.
    unsafe {
        let narrow = vld1_u16(at.cast());
        asm!(
            "fcvtl {wide:v}.4s, {narrow:v}.4h",
            wide = out(vreg) wide,
            narrow = in(vreg) narrow,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    wide
}

/// 4 bytes as floats.
///
/// # Safety
/// They are there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn bytes(at: *const u8, signed: bool) -> float32x4_t {
    // SAFETY: the caller says so.
    let bytes = unsafe { vcreate_u8(u64::from(at.cast::<u32>().read_unaligned())) };
    if signed {
        let wide = vget_low_s16(vmovl_s8(vreinterpret_s8_u8(bytes)));
        vcvtq_f32_s32(vmovl_s16(wide))
    } else {
        vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))))
    }
}

/// The scales of 4 rows, from `row`, of a tile: one or two of each.
///
/// # Safety
/// The factors, where the format has them, and the scales of 16 rows are there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn scale<F: Integers>(factors: *const u8, at: *const u8, row: usize) -> [float32x4_t; 2] {
    // SAFETY: the caller says so.
    unsafe {
        match F::SCALES {
            Scales::Offset(_) => [float(at.add(2 * row)); 2],
            Scales::Minimum => [float(at.add(2 * row)), float(at.add(2 * (ROWS + row)))],
            Scales::SuperMinimum => {
                let scale = bytes(at.add(row), false);
                let minimum = bytes(at.add(ROWS + row), false);
                [
                    vmulq_f32(float(factors.add(2 * row)), scale),
                    vmulq_f32(float(factors.add(2 * (ROWS + row))), minimum),
                ]
            }
            Scales::SuperHalves => {
                let factor = float(factors.add(2 * row));
                let (low, high) = (bytes(at.add(row), true), bytes(at.add(ROWS + row), true));
                [vmulq_f32(factor, low), vmulq_f32(factor, high)]
            }
        }
    }
}

/// The 8 registers of a quarter, signed where quants have 8 bits.
///
/// # Safety
/// The tile, from the quarter's first row, is there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn unpack<F: Integers>(tile: *const u8) -> [int8x16_t; REGISTERS] {
    // SAFETY: the caller says so; a tile has as many bytes as its bits say.
    let load = |i: usize| unsafe { vld1q_u8(tile.add(LINE * i)) };
    let mut weights = [vdupq_n_u8(0); REGISTERS];
    if F::BITS == Bits::Eight {
        for (i, weights) in weights.iter_mut().enumerate() {
            *weights = veorq_u8(load(i), vdupq_n_u8(0x80));
        }
    } else {
        let nibble = vdupq_n_u8(15);
        for i in 0..4 {
            let both = load(i);
            weights[i] = vandq_u8(both, nibble);
            weights[i + 4] = vshrq_n_u8::<4>(both);
        }
    }
    if F::BITS == Bits::Five {
        let high = load(4);
        for (i, weights) in weights.iter_mut().enumerate() {
            // Bit i of each byte to bit 4.
            let bit = vshlq_u8(high, vdupq_n_s8(4 - i as i8));
            *weights = vorrq_u8(*weights, vandq_u8(bit, vdupq_n_u8(16)));
        }
    }
    if F::BITS == Bits::Six {
        for (i, weights) in weights.iter_mut().enumerate() {
            // Bits 2 i and 2 i + 1 of each byte to bits 4 and 5.
            let pair = vshlq_u8(load(4 + i / 4), vdupq_n_s8(4 - 2 * (i % 4) as i8));
            *weights = vorrq_u8(*weights, vandq_u8(pair, vdupq_n_u8(48)));
        }
    }
    weights.map(|weights| vreinterpretq_s8_u8(weights))
}

/// `sum` with the products of 4 rows x 4 inputs and word `LANE` of the activations.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot<const LANE: i32>(
    mut sum: int32x4_t,
    weights: int8x16_t,
    activations: int8x16_t,
) -> int32x4_t {
    // SAFETY: the instruction touches nothing but its registers, and the processor has it.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {weights:v}.16b, {activations:v}.4b[{lane}]",
            sum = inout(vreg) sum,
            weights = in(vreg) weights,
            activations = in(vreg) activations,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// `sum` with the products of a quarter of a tile with a block of activations.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn add<F: Integers>(
    sum: float32x4_t,
    weights: &[int8x16_t; REGISTERS],
    scale: [float32x4_t; 2],
    block: &Block,
) -> float32x4_t {
    // What takes the offset out again, then the products of inputs 0..16 and of 16..32.
    let [low, high] = match F::SCALES {
        Scales::Offset(8) => [block.less8, 0],
        Scales::Offset(16) => [block.less16, 0],
        Scales::SuperHalves => block.less32,
        // 8 bits are signed here.
        _ => [0, 0],
    };
    let half = |sum: i32, first: usize| {
        // SAFETY: a block has 32 activations, and `first` is 0 or 16.
        let activations = unsafe { vld1q_s8(block.q.as_ptr().add(first)) };
        let weights = &weights[first / 4..];
        let sum = dot::<0>(vdupq_n_s32(sum), weights[0], activations);
        let sum = dot::<1>(sum, weights[1], activations);
        let sum = dot::<2>(sum, weights[2], activations);
        dot::<3>(sum, weights[3], activations)
    };
    let (low, high) = (half(low, 0), half(high, BLOCK / 2));
    let factor = vdupq_n_f32(block.scale);
    let product = |integers| vmulq_f32(vcvtq_f32_s32(integers), factor);
    if F::SCALES == Scales::SuperHalves {
        let sum = vfmaq_f32(sum, product(low), scale[0]);
        return vfmaq_f32(sum, product(high), scale[1]);
    }
    let sum = vfmaq_f32(sum, product(vaddq_s32(low, high)), scale[0]);
    match F::SCALES {
        Scales::Minimum => vfmaq_f32(sum, scale[1], vdupq_n_f32(block.sum)),
        Scales::SuperMinimum => vfmsq_f32(sum, scale[1], vdupq_n_f32(block.sum)),
        Scales::Offset(_) | Scales::SuperHalves => sum,
    }
}

/// # Safety
/// The processor has NEON.
#[target_feature(enable = "neon,dotprod")]
unsafe fn floats<F: Floats>(group: &Group<'_>, panel: &Panel<'_>, out: &mut Products) {
    let mut first = 0;
    while first < panel.rows {
        // SAFETY: as for this function; each pass has as many rows as are left, at most.
        first += unsafe {
            match panel.rows - first {
                1 => float_pass::<F, 1>(group, panel, first, out),
                _ => float_pass::<F, 2>(group, panel, first, out),
            }
        };
    }
}

/// Multiplies a group of floats with `M` rows of a panel, from row `first`. Returns `M`.
///
/// # Safety
/// The processor has NEON.
#[target_feature(enable = "neon")]
unsafe fn float_pass<F: Floats, const M: usize>(
    group: &Group<'_>,
    panel: &Panel<'_>,
    first: usize,
    out: &mut Products,
) -> usize {
    let size = F::FLOAT.bytes();
    assert!(group.bytes.len() >= group.cols * ROWS * size && first + M <= panel.rows);
    assert!(panel.values.len() >= group.cols * panel.rows);
    // Even inputs, odd inputs; quarters of the rows.
    let mut sums = [[[vdupq_n_f32(0.0); M]; QUARTERS]; 2];
    // SAFETY: as many inputs of the group and of the panel are there, as just asserted.
    unsafe {
        for input in 0..group.cols {
            let values = panel.values.as_ptr().add(input * panel.rows + first);
            for (quarter, sums) in sums[input % 2].iter_mut().enumerate() {
                let at = group.bytes.as_ptr().add((input * ROWS + quarter * QUARTER) * size);
                let weights = match F::FLOAT {
                    Float::F32 => vld1q_f32(at.cast()),
                    Float::F16 => float(at),
                    Float::Bf16 => vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(at.cast()))),
                };
                for (m, sum) in sums.iter_mut().enumerate() {
                    *sum = vfmaq_f32(*sum, weights, vdupq_n_f32(*values.add(m)));
                }
            }
        }
        for m in 0..M {
            for quarter in 0..QUARTERS {
                let sum = vaddq_f32(sums[0][quarter][m], sums[1][quarter][m]);
                vst1q_f32(out[first + m][quarter * QUARTER..][..QUARTER].as_mut_ptr(), sum);
            }
        }
    }
    M
}
