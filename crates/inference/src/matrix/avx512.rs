//! Kernels for AVX-512 with VNNI: `vpdpbusd` multiplies a register of weights (16 rows x 4
//! inputs) with 4 activations and adds each row's products to its integer sum.

use std::arch::x86_64::*;

use super::activations::{Block, Panel};
use super::kernel::{Group, Kernel, Kernels, Products};
use super::layout::{BLOCK, Bits, Float, Floats, Integers, REGISTERS, ROWS, Scales, TILES};
use super::storage::LINE;

/// How far ahead of its use memory is fetched, in bytes: past the end of the page, where the
/// processor does not look by itself.
const AHEAD: usize = 4096;
/// The same where several rows are multiplied: computing takes longer between two fetches then,
/// so more of them have to be under way, which only the second-level cache has room for.
const AHEAD_ROWS: usize = 8192;

pub(super) struct Avx512;

impl Kernels for Avx512 {
    fn integers<F: Integers>() -> Kernel {
        integers::<F>
    }

    fn floats<F: Floats>() -> Kernel {
        floats::<F>
    }
}

/// # Safety
/// The processor has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn integers<F: Integers>(group: &Group<'_>, panel: &Panel<'_>, out: &mut Products) {
    let mut first = 0;
    while first < panel.rows {
        // SAFETY: as for this function; each pass has as many rows as are left, at least.
        first += unsafe {
            match panel.rows - first {
                1 => pass::<F, 1>(group, panel, first, out),
                2 | 3 => pass::<F, 2>(group, panel, first, out),
                4..8 => pass::<F, 4>(group, panel, first, out),
                _ => pass::<F, 8>(group, panel, first, out),
            }
        };
    }
}

/// Multiplies a group with `M` rows of a panel, from row `first`. Returns `M`.
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and VNNI; the panel has these rows.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
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
    let mut sums = [_mm512_setzero_ps(); M];
    // SAFETY: the tiles with their scales, and as many blocks of each row, are there, as just
    // asserted. Nothing is read where only a prefetch points to.
    unsafe {
        let mut blocks = panel.blocks.as_ptr().add(first);
        let mut factors = [_mm512_setzero_ps(); 2];
        for tile in 0..tiles {
            let place = F::SCALES.place(F::BITS, tile);
            let quants = group.bytes.as_ptr().add(place.quants);
            if group.fetch {
                for line in 0..F::BITS.bytes() / LINE + 1 {
                    let line = quants.wrapping_add(LINE * line);
                    if M == 1 {
                        _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(AHEAD).cast());
                    } else {
                        _mm_prefetch::<_MM_HINT_T1>(line.wrapping_add(AHEAD_ROWS).cast());
                    }
                }
            }
            let scales = group.bytes.as_ptr().add(place.scales);
            if F::SCALES.has_factors() && tile % TILES == 0 {
                let at = group.bytes.as_ptr().add(place.factors);
                factors = [half(at), half(at.add(2 * ROWS))];
            }
            let scale = match F::SCALES {
                Scales::Offset(_) => [half(scales); 2],
                Scales::Minimum => [half(scales), half(scales.add(2 * ROWS))],
                Scales::SuperMinimum => {
                    let [scale, minimum] = [scales, scales.add(ROWS)].map(|at| {
                        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(at.cast())))
                    });
                    [_mm512_mul_ps(factors[0], scale), _mm512_mul_ps(factors[1], minimum)]
                }
                Scales::SuperHalves => [scales, scales.add(ROWS)].map(|at| {
                    let scale = _mm512_cvtepi8_epi32(_mm_loadu_si128(at.cast()));
                    _mm512_mul_ps(factors[0], _mm512_cvtepi32_ps(scale))
                }),
            };
            let weights = unpack::<F>(quants);
            for (m, sum) in sums.iter_mut().enumerate() {
                *sum = add::<F>(*sum, &weights, scale, blocks.add(m));
            }
            blocks = blocks.add(panel.rows);
        }
        for (sum, out) in sums.into_iter().zip(&mut out[first..]) {
            _mm512_storeu_ps(out.as_mut_ptr(), sum);
        }
    }
    M
}

/// 16 f16 values.
///
/// # Safety
/// They are there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn half(at: *const u8) -> __m512 {
    // SAFETY: the caller says so.
    unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
}

/// The 8 registers of a tile.
///
/// # Safety
/// The tile is there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn unpack<F: Integers>(tile: *const u8) -> [__m512i; REGISTERS] {
    // SAFETY: the caller says so; a tile has as many bytes as its bits say.
    let load = |i: usize| unsafe { _mm512_loadu_si512(tile.add(64 * i).cast()) };
    if F::BITS == Bits::Eight {
        return std::array::from_fn(load);
    }
    let nibble = _mm512_set1_epi8(15);
    let mut weights = [_mm512_setzero_si512(); REGISTERS];
    for i in 0..4 {
        let both = load(i);
        weights[i] = _mm512_and_si512(both, nibble);
        weights[i + 4] = _mm512_and_si512(_mm512_srli_epi16::<4>(both), nibble);
    }
    match F::BITS {
        Bits::Five => {
            let high = load(4);
            let mask = _mm512_set1_epi8(16);
            for (i, weights) in weights.iter_mut().enumerate() {
                // Bit i of each byte to bit 4; what comes from the neighbour is masked.
                let bit = if i < 4 {
                    _mm512_sll_epi16(high, _mm_cvtsi32_si128(4 - i as i32))
                } else {
                    _mm512_srl_epi16(high, _mm_cvtsi32_si128(i as i32 - 4))
                };
                *weights = _mm512_or_si512(*weights, _mm512_and_si512(bit, mask));
            }
        }
        Bits::Six => {
            let mask = _mm512_set1_epi8(48);
            for (i, weights) in weights.iter_mut().enumerate() {
                let high = load(4 + i / 4);
                // Bits 2 i and 2 i + 1 of each byte to bits 4 and 5.
                let pair = match i % 4 {
                    0 => _mm512_slli_epi16::<4>(high),
                    1 => _mm512_slli_epi16::<2>(high),
                    2 => high,
                    _ => _mm512_srli_epi16::<2>(high),
                };
                *weights = _mm512_or_si512(*weights, _mm512_and_si512(pair, mask));
            }
        }
        Bits::Four | Bits::Eight => {}
    }
    weights
}

/// `sum` with the products of a tile with a block of activations.
///
/// # Safety
/// The block is there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn add<F: Integers>(
    sum: __m512,
    weights: &[__m512i; REGISTERS],
    scale: [__m512; 2],
    block: *const Block,
) -> __m512 {
    // SAFETY: the caller says so; 32 activations are 8 words.
    let (block, word) = unsafe {
        (&*block, |i: usize| _mm512_set1_epi32((*block).q.as_ptr().cast::<i32>().add(i).read()))
    };
    let zero = _mm512_setzero_si512();
    // What takes the offset out again, then the products of inputs 0..16 and of 16..32.
    let [mut low, mut high] = match F::SCALES {
        Scales::Offset(8) => [_mm512_set1_epi32(block.less8), zero],
        Scales::Offset(16) => [_mm512_set1_epi32(block.less16), zero],
        Scales::Offset(_) => [_mm512_set1_epi32(block.less128), zero],
        Scales::SuperHalves => block.less32.map(|less| _mm512_set1_epi32(less)),
        Scales::Minimum | Scales::SuperMinimum => [zero, zero],
    };
    for i in 0..4 {
        low = _mm512_dpbusd_epi32(low, weights[i], word(i));
        high = _mm512_dpbusd_epi32(high, weights[i + 4], word(i + 4));
    }
    let factor = _mm512_set1_ps(block.scale);
    let product = |integers| _mm512_mul_ps(_mm512_cvtepi32_ps(integers), factor);
    match F::SCALES {
        Scales::Offset(_) => _mm512_fmadd_ps(product(_mm512_add_epi32(low, high)), scale[0], sum),
        Scales::Minimum => {
            let sum = _mm512_fmadd_ps(product(_mm512_add_epi32(low, high)), scale[0], sum);
            _mm512_fmadd_ps(scale[1], _mm512_set1_ps(block.sum), sum)
        }
        Scales::SuperMinimum => {
            let sum = _mm512_fmadd_ps(product(_mm512_add_epi32(low, high)), scale[0], sum);
            _mm512_fnmadd_ps(scale[1], _mm512_set1_ps(block.sum), sum)
        }
        Scales::SuperHalves => {
            let sum = _mm512_fmadd_ps(product(low), scale[0], sum);
            _mm512_fmadd_ps(product(high), scale[1], sum)
        }
    }
}

/// # Safety
/// The processor has AVX-512 F and BW.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn floats<F: Floats>(group: &Group<'_>, panel: &Panel<'_>, out: &mut Products) {
    let mut first = 0;
    while first < panel.rows {
        // SAFETY: as for this function; each pass has as many rows as are left, at least.
        first += unsafe {
            match panel.rows - first {
                1 => float_pass::<F, 1>(group, panel, first, out),
                2 | 3 => float_pass::<F, 2>(group, panel, first, out),
                4..8 => float_pass::<F, 4>(group, panel, first, out),
                _ => float_pass::<F, 8>(group, panel, first, out),
            }
        };
    }
}

/// Multiplies a group of floats with `M` rows of a panel, from row `first`. Returns `M`.
///
/// # Safety
/// The processor has AVX-512 F and BW; the panel has these rows.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn float_pass<F: Floats, const M: usize>(
    group: &Group<'_>,
    panel: &Panel<'_>,
    first: usize,
    out: &mut Products,
) -> usize {
    let size = F::FLOAT.bytes();
    assert!(group.bytes.len() >= group.cols * ROWS * size && first + M <= panel.rows);
    assert!(panel.values.len() >= group.cols * panel.rows);
    // Even inputs, odd inputs.
    let mut sums = [[_mm512_setzero_ps(); M]; 2];
    // SAFETY: as many inputs of the group and of the panel are there, as just asserted.
    unsafe {
        let step = |sums: &mut [__m512; M], input: usize| {
            let at = group.bytes.as_ptr().add(input * ROWS * size);
            let weights = match F::FLOAT {
                Float::F32 => _mm512_loadu_ps(at.cast()),
                Float::F16 => half(at),
                Float::Bf16 => {
                    let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()));
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
                }
            };
            let values = panel.values.as_ptr().add(input * panel.rows + first);
            for (m, sum) in sums.iter_mut().enumerate() {
                *sum = _mm512_fmadd_ps(weights, _mm512_set1_ps(*values.add(m)), *sum);
            }
        };
        for pair in 0..group.cols / 2 {
            step(&mut sums[0], 2 * pair);
            step(&mut sums[1], 2 * pair + 1);
        }
        if group.cols % 2 == 1 {
            step(&mut sums[0], group.cols - 1);
        }
        for m in 0..M {
            _mm512_storeu_ps(out[first + m].as_mut_ptr(), _mm512_add_ps(sums[0][m], sums[1][m]));
        }
    }
    M
}
