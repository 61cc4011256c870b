//! Kernels for AVX2: the tiles of AVX-512 in two halves of 8 rows. `vpmaddubsw` multiplies
//! weights with activations and adds pairs of products to 16 bits; those are added as long as
//! they cannot overflow, then widened. With weights of 4 bits that is a whole tile.

use std::arch::x86_64::*;

use super::activations::{Block, Panel};
use super::kernel::{Group, Kernel, Kernels, Products};
use super::layout::{BLOCK, Bits, Float, Floats, Integers, ROWS, Scales, TILES};
use super::storage::LINE;

/// How far ahead of its use memory is fetched, in bytes: past the end of the page, where the
/// processor does not look by itself.
const AHEAD: usize = 4096;
/// Rows of a half.
const HALF: usize = ROWS / 2;

pub(super) struct Avx2;

impl Kernels for Avx2 {
    fn integers<F: Integers>() -> Kernel {
        integers::<F>
    }

    fn floats<F: Floats>() -> Kernel {
        floats::<F>
    }
}

/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn integers<F: Integers>(group: &Group<'_>, panel: &Panel<'_>, out: &mut Products) {
    let mut first = 0;
    while first < panel.rows {
        // SAFETY: as for this function; each pass has as many rows as are left, at most.
        first += unsafe {
            match panel.rows - first {
                1 => pass::<F, 1, 2>(group, panel, [first, 0], out),
                2 | 3 => pass::<F, 2, 2>(group, panel, [first, 0], out),
                // The sums of four rows take the registers that both halves would need.
                _ => {
                    pass::<F, 4, 1>(group, panel, [first, 0], out);
                    pass::<F, 4, 1>(&Group { fetch: false, ..*group }, panel, [first, 1], out)
                }
            }
        };
    }
}

/// Multiplies `H` halves of a group with `M` rows of a panel, from this row and this half on.
/// Returns `M`.
///
/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn pass<F: Integers, const M: usize, const H: usize>(
    group: &Group<'_>,
    panel: &Panel<'_>,
    [first, half]: [usize; 2],
    out: &mut Products,
) -> usize {
    let tiles = group.cols / BLOCK;
    let end = F::SCALES.place(F::BITS, tiles - 1).quants + F::BITS.bytes();
    assert!(group.bytes.len() >= end && half + H <= 2);
    assert!(panel.blocks.len() >= tiles * panel.rows && first + M <= panel.rows);
    let mut sums = [[_mm256_setzero_ps(); M]; H];
    // SAFETY: the tiles with their scales, and as many blocks of each row, are there, as just
    // asserted. Nothing is read where only a prefetch points to.
    unsafe {
        let mut blocks = panel.blocks.as_ptr().add(first);
        let mut factors = [[_mm256_setzero_ps(); 2]; H];
        for tile in 0..tiles {
            let place = F::SCALES.place(F::BITS, tile);
            let base = group.bytes.as_ptr();
            if group.fetch {
                for line in 0..F::BITS.bytes() / LINE + 1 {
                    let at = base.wrapping_add(place.quants + AHEAD + LINE * line);
                    _mm_prefetch::<_MM_HINT_T0>(at.cast());
                }
            }
            for (h, (sums, factors)) in sums.iter_mut().zip(&mut factors).enumerate() {
                let row = (half + h) * HALF;
                if F::SCALES.has_factors() && tile % TILES == 0 {
                    let at = base.add(place.factors + 2 * row);
                    *factors = [float(at), float(at.add(2 * ROWS))];
                }
                let scale = scale::<F>(base.add(place.scales), row, *factors);
                let quants = base.add(place.quants + 4 * row);
                let products = products::<F, M>(quants, blocks);
                for (m, (sum, products)) in sums.iter_mut().zip(products).enumerate() {
                    *sum = add::<F>(*sum, products, scale, &*blocks.add(m));
                }
            }
            blocks = blocks.add(panel.rows);
        }
        for (h, sums) in sums.into_iter().enumerate() {
            for (sum, out) in sums.into_iter().zip(&mut out[first..]) {
                _mm256_storeu_ps(out[(half + h) * HALF..][..HALF].as_mut_ptr(), sum);
            }
        }
    }
    M
}

/// 8 f16 values.
///
/// # Safety
/// They are there.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn float(at: *const u8) -> __m256 {
    // SAFETY: the caller says so.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) }
}

/// The scales of 8 rows, from `row`, of a tile: one or two of each.
///
/// # Safety
/// The scales of 16 rows are there.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn scale<F: Integers>(at: *const u8, row: usize, factors: [__m256; 2]) -> [__m256; 2] {
    // SAFETY: the caller says so.
    unsafe {
        match F::SCALES {
            Scales::Offset(_) => [float(at.add(2 * row)); 2],
            Scales::Minimum => [float(at.add(2 * row)), float(at.add(2 * (ROWS + row)))],
            Scales::SuperMinimum => {
                let scale = _mm256_cvtepu8_epi32(_mm_loadl_epi64(at.add(row).cast()));
                let minimum = _mm256_cvtepu8_epi32(_mm_loadl_epi64(at.add(ROWS + row).cast()));
                [
                    _mm256_mul_ps(factors[0], _mm256_cvtepi32_ps(scale)),
                    _mm256_mul_ps(factors[1], _mm256_cvtepi32_ps(minimum)),
                ]
            }
            Scales::SuperHalves => {
                let low = _mm256_cvtepi8_epi32(_mm_loadl_epi64(at.add(row).cast()));
                let high = _mm256_cvtepi8_epi32(_mm_loadl_epi64(at.add(ROWS + row).cast()));
                [
                    _mm256_mul_ps(factors[0], _mm256_cvtepi32_ps(low)),
                    _mm256_mul_ps(factors[0], _mm256_cvtepi32_ps(high)),
                ]
            }
        }
    }
}

/// Products of 8 rows with `M` blocks: those of inputs 0..16 and of 16..32, or all in the first
/// where the halves have one scale. Offsets are not taken out, but for quants of 8 bits.
///
/// # Safety
/// The tile, from the half's first row, and the blocks are there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn products<F: Integers, const M: usize>(
    tile: *const u8,
    blocks: *const Block,
) -> [[__m256i; 2]; M] {
    // SAFETY: as for this function.
    unsafe {
        match F::BITS {
            Bits::Four => four(tile, blocks),
            Bits::Five => five(tile, blocks),
            Bits::Six => six(tile, blocks),
            Bits::Eight => eight(tile, blocks),
        }
    }
}

/// Register `i` of a tile's half.
///
/// # Safety
/// It is there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load(tile: *const u8, i: usize) -> __m256i {
    // SAFETY: the caller says so.
    unsafe { _mm256_loadu_si256(tile.add(LINE * i).cast()) }
}

/// Activations `4 i` to `4 i + 3` of block `m`, for every row of weights.
///
/// # Safety
/// The block is there, and `i` below 8.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn word(blocks: *const Block, m: usize, i: usize) -> __m256i {
    // SAFETY: the caller says so; 32 activations are 8 words.
    unsafe { _mm256_set1_epi32((*blocks.add(m)).q.as_ptr().cast::<i32>().add(i).read()) }
}

/// Register `i` and register `i + 4`, of the low and the high nibbles.
#[inline]
#[target_feature(enable = "avx2")]
fn nibbles(both: __m256i) -> [__m256i; 2] {
    let nibble = _mm256_set1_epi8(15);
    [_mm256_and_si256(both, nibble), _mm256_and_si256(_mm256_srli_epi16::<4>(both), nibble)]
}

/// [`products`] of quants of 4 bits.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn four<const M: usize>(tile: *const u8, blocks: *const Block) -> [[__m256i; 2]; M] {
    let zero = _mm256_setzero_si256();
    // Pairs are at most 15 x 127 x 2, and 8 of them less than 2^15.
    let mut narrow = [zero; M];
    for i in 0..4 {
        // SAFETY: the caller says so.
        let [low, high] = nibbles(unsafe { load(tile, i) });
        for (m, narrow) in narrow.iter_mut().enumerate() {
            // SAFETY: the caller says so.
            let words = unsafe { [word(blocks, m, i), word(blocks, m, i + 4)] };
            let low = _mm256_maddubs_epi16(low, words[0]);
            let high = _mm256_maddubs_epi16(high, words[1]);
            *narrow = _mm256_add_epi16(*narrow, _mm256_add_epi16(low, high));
        }
    }
    narrow.map(|narrow| [_mm256_madd_epi16(narrow, _mm256_set1_epi16(1)), zero])
}

/// [`products`] of quants of 5 bits.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn five<const M: usize>(tile: *const u8, blocks: *const Block) -> [[__m256i; 2]; M] {
    let zero = _mm256_setzero_si256();
    let mask = _mm256_set1_epi8(16);
    // SAFETY: the caller says so.
    let bits = unsafe { load(tile, 4) };
    let mut sums = [[zero; 2]; M];
    for step in 0..2 {
        // Pairs are at most 31 x 127 x 2, and 4 of them less than 2^15.
        let mut narrow = [zero; M];
        for i in 2 * step..2 * step + 2 {
            // SAFETY: the caller says so.
            let [low, high] = nibbles(unsafe { load(tile, i) });
            // Bits i and i + 4 of each byte to bit 4; what comes from the neighbour is masked.
            let bit = _mm256_sll_epi16(bits, _mm_cvtsi32_si128(4 - i as i32));
            let low = _mm256_or_si256(low, _mm256_and_si256(bit, mask));
            let bit = _mm256_srl_epi16(bits, _mm_cvtsi32_si128(i as i32));
            let high = _mm256_or_si256(high, _mm256_and_si256(bit, mask));
            for (m, narrow) in narrow.iter_mut().enumerate() {
                // SAFETY: the caller says so.
                let words = unsafe { [word(blocks, m, i), word(blocks, m, i + 4)] };
                let low = _mm256_maddubs_epi16(low, words[0]);
                let high = _mm256_maddubs_epi16(high, words[1]);
                *narrow = _mm256_add_epi16(*narrow, _mm256_add_epi16(low, high));
            }
        }
        for (sums, narrow) in sums.iter_mut().zip(narrow) {
            let wide = _mm256_madd_epi16(narrow, _mm256_set1_epi16(1));
            sums[0] = _mm256_add_epi32(sums[0], wide);
        }
    }
    sums
}

/// [`products`] of quants of 6 bits, apart for both halves of the inputs.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn six<const M: usize>(tile: *const u8, blocks: *const Block) -> [[__m256i; 2]; M] {
    let zero = _mm256_setzero_si256();
    let mask = _mm256_set1_epi8(48);
    // SAFETY: the caller says so.
    let bits = unsafe { [load(tile, 4), load(tile, 5)] };
    let mut sums = [[zero; 2]; M];
    for step in 0..2 {
        // Pairs are at most 63 x 127 x 2, and 2 of them less than 2^15.
        let mut narrow = [[zero; 2]; M];
        for i in 2 * step..2 * step + 2 {
            // SAFETY: the caller says so.
            let mut weights = nibbles(unsafe { load(tile, i) });
            for (weights, bits) in weights.iter_mut().zip(bits) {
                // Bits 2 i and 2 i + 1 of each byte to bits 4 and 5.
                let pair = match i {
                    0 => _mm256_slli_epi16::<4>(bits),
                    1 => _mm256_slli_epi16::<2>(bits),
                    2 => bits,
                    _ => _mm256_srli_epi16::<2>(bits),
                };
                *weights = _mm256_or_si256(*weights, _mm256_and_si256(pair, mask));
            }
            for (m, narrow) in narrow.iter_mut().enumerate() {
                // SAFETY: the caller says so.
                let words = unsafe { [word(blocks, m, i), word(blocks, m, i + 4)] };
                for half in 0..2 {
                    let products = _mm256_maddubs_epi16(weights[half], words[half]);
                    narrow[half] = _mm256_add_epi16(narrow[half], products);
                }
            }
        }
        for (sums, narrow) in sums.iter_mut().zip(narrow) {
            for (sum, narrow) in sums.iter_mut().zip(narrow) {
                let wide = _mm256_madd_epi16(narrow, _mm256_set1_epi16(1));
                *sum = _mm256_add_epi32(*sum, wide);
            }
        }
    }
    sums
}

/// [`products`] of quants of 8 bits, signed again.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn eight<const M: usize>(tile: *const u8, blocks: *const Block) -> [[__m256i; 2]; M] {
    let zero = _mm256_setzero_si256();
    let mut sums = [[zero; 2]; M];
    for i in 0..8 {
        // SAFETY: the caller says so.
        let weights = _mm256_xor_si256(unsafe { load(tile, i) }, _mm256_set1_epi8(i8::MIN));
        let magnitudes = _mm256_abs_epi8(weights);
        for (m, sums) in sums.iter_mut().enumerate() {
            // Pairs are at most 128 x 127 x 2: the sign is at the activations.
            // SAFETY: the caller says so.
            let signed = _mm256_sign_epi8(unsafe { word(blocks, m, i) }, weights);
            let pairs = _mm256_maddubs_epi16(magnitudes, signed);
            let wide = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
            sums[0] = _mm256_add_epi32(sums[0], wide);
        }
    }
    sums
}

/// `sum` with the products of a tile with a block of activations.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add<F: Integers>(
    sum: __m256,
    [low, high]: [__m256i; 2],
    scale: [__m256; 2],
    block: &Block,
) -> __m256 {
    let factor = _mm256_set1_ps(block.scale);
    let product = |integers| _mm256_mul_ps(_mm256_cvtepi32_ps(integers), factor);
    let less = |less: i32| _mm256_set1_epi32(less);
    match F::SCALES {
        Scales::Offset(offset) => {
            let low = match offset {
                8 => _mm256_add_epi32(low, less(block.less8)),
                16 => _mm256_add_epi32(low, less(block.less16)),
                // 8 bits are signed here.
                _ => low,
            };
            _mm256_fmadd_ps(product(low), scale[0], sum)
        }
        Scales::Minimum => {
            let sum = _mm256_fmadd_ps(product(low), scale[0], sum);
            _mm256_fmadd_ps(scale[1], _mm256_set1_ps(block.sum), sum)
        }
        Scales::SuperMinimum => {
            let sum = _mm256_fmadd_ps(product(low), scale[0], sum);
            _mm256_fnmadd_ps(scale[1], _mm256_set1_ps(block.sum), sum)
        }
        Scales::SuperHalves => {
            let low = _mm256_add_epi32(low, less(block.less32[0]));
            let high = _mm256_add_epi32(high, less(block.less32[1]));
            let sum = _mm256_fmadd_ps(product(low), scale[0], sum);
            _mm256_fmadd_ps(product(high), scale[1], sum)
        }
    }
}

/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
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
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn float_pass<F: Floats, const M: usize>(
    group: &Group<'_>,
    panel: &Panel<'_>,
    first: usize,
    out: &mut Products,
) -> usize {
    let size = F::FLOAT.bytes();
    assert!(group.bytes.len() >= group.cols * ROWS * size && first + M <= panel.rows);
    assert!(panel.values.len() >= group.cols * panel.rows);
    // Even inputs, odd inputs; halves of the rows.
    let mut sums = [[[_mm256_setzero_ps(); M]; 2]; 2];
    // SAFETY: as many inputs of the group and of the panel are there, as just asserted.
    unsafe {
        let step = |sums: &mut [[__m256; M]; 2], input: usize| {
            let values = panel.values.as_ptr().add(input * panel.rows + first);
            for (half, sums) in sums.iter_mut().enumerate() {
                let at = group.bytes.as_ptr().add((input * ROWS + half * HALF) * size);
                let weights = match F::FLOAT {
                    Float::F32 => _mm256_loadu_ps(at.cast()),
                    Float::F16 => float(at),
                    Float::Bf16 => {
                        let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
                        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
                    }
                };
                for (m, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm256_fmadd_ps(weights, _mm256_set1_ps(*values.add(m)), *sum);
                }
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
            for half in 0..2 {
                let sum = _mm256_add_ps(sums[0][half][m], sums[1][half][m]);
                _mm256_storeu_ps(out[first + m][half * HALF..][..HALF].as_mut_ptr(), sum);
            }
        }
    }
    M
}
