//! What a model does to vectors beside multiplying them with matrices.
//!
//! Every function gives the same bits on every instruction set: sums go over 32 lanes (value `i`
//! to lane `i mod 32`) that are then added in halves, and products are added in one rounding.

/// Writes, for each function, one that runs a body compiled for the instruction set that is asked
/// for, or for any processor where that is lacking. Bodies are `#[inline(always)]`.
macro_rules! dispatch {
    ($(
        $(#[$meta:meta])*
        $vis:vis fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? = $body:path;
    )+) => {$(
        $(#[$meta])*
        #[inline]
        $vis fn $name(isa: $crate::matrix::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                $body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                $body($($arg),*)
            }
            match isa.or_scalar() {
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "calls code that is compiled for AVX2")]
                // SAFETY: `or_scalar` gives what this processor has.
                $crate::matrix::Isa::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "calls code that is compiled for AVX-512")]
                // SAFETY: `or_scalar` gives what this processor has.
                $crate::matrix::Isa::Avx512 => unsafe { avx512($($arg),*) },
                _ => $body($($arg),*),
            }
        }
    )+};
}
pub(super) use dispatch;

/// Lanes of a sum.
const LANES: usize = 32;

dispatch! {
    /// The sum of the products of two vectors of equal length.
    ///
    /// # Panics
    /// If the lengths differ, as all functions of two vectors do.
    pub fn dot(a: &[f32], b: &[f32]) -> f32 = dot_body;
    /// The sum of the products of values and f16 values.
    pub fn dot_f16(a: &[f32], b: &[u16]) -> f32 = dot_f16_body;
    /// Adds `factor` x `x` to `y`.
    pub fn axpy(factor: f32, x: &[f32], y: &mut [f32]) = axpy_body;
    /// Adds `factor` x the f16 values `x` to `y`.
    pub fn axpy_f16(factor: f32, x: &[u16], y: &mut [f32]) = axpy_f16_body;
    /// Adds `x` to `y`.
    pub fn add(x: &[f32], y: &mut [f32]) = add_body;
    /// f16 to f32.
    pub fn f16_to_f32(from: &[u16], to: &mut [f32]) = f16_to_f32_body;
    /// f32 to f16, to nearest (even).
    pub fn f32_to_f16(from: &[f32], to: &mut [u16]) = f32_to_f16_body;
    /// RMSNorm: `x / sqrt(mean of squares + epsilon) x weight`.
    pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) = rms_norm_body;
    /// Writes `silu(gate) x up` to `gate`, where silu(x) = x / (1 + exp(-x)).
    pub fn silu_mul(gate: &mut [f32], up: &[f32]) = silu_mul_body;
    /// Makes weights of scores: `exp(x - largest)`, divided by their sum.
    pub fn softmax(x: &mut [f32]) = softmax_body;
}

/// Adds lanes in halves.
#[inline(always)]
fn fold(lanes: [f32; LANES]) -> f32 {
    let mut lanes = lanes;
    let mut len = LANES / 2;
    while len > 0 {
        for i in 0..len {
            lanes[i] += lanes[i + len];
        }
        len /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn dot_body(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let (blocks, rest) = a.as_chunks::<LANES>();
    let (other_blocks, other_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (a, b) in blocks.iter().zip(other_blocks) {
        sums = std::array::from_fn(|i| a[i].mul_add(b[i], sums[i]));
    }
    for ((sum, a), b) in sums.iter_mut().zip(rest).zip(other_rest) {
        *sum = a.mul_add(*b, *sum);
    }
    fold(sums)
}

#[inline(always)]
fn dot_f16_body(a: &[f32], b: &[u16]) -> f32 {
    assert_eq!(a.len(), b.len());
    let (blocks, rest) = a.as_chunks::<LANES>();
    let (other_blocks, other_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (a, b) in blocks.iter().zip(other_blocks) {
        sums = std::array::from_fn(|i| a[i].mul_add(widen(b[i]), sums[i]));
    }
    for ((sum, a), b) in sums.iter_mut().zip(rest).zip(other_rest) {
        *sum = a.mul_add(widen(*b), *sum);
    }
    fold(sums)
}

#[inline(always)]
fn axpy_body(factor: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    for (y, x) in y.iter_mut().zip(x) {
        *y = x.mul_add(factor, *y);
    }
}

#[inline(always)]
fn axpy_f16_body(factor: f32, x: &[u16], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    for (y, x) in y.iter_mut().zip(x) {
        *y = widen(*x).mul_add(factor, *y);
    }
}

#[inline(always)]
fn add_body(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    for (y, x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

#[inline(always)]
fn f16_to_f32_body(from: &[u16], to: &mut [f32]) {
    assert_eq!(from.len(), to.len());
    for (to, from) in to.iter_mut().zip(from) {
        *to = widen(*from);
    }
}

#[inline(always)]
fn f32_to_f16_body(from: &[f32], to: &mut [u16]) {
    assert_eq!(from.len(), to.len());
    for (to, from) in to.iter_mut().zip(from) {
        *to = narrow(*from);
    }
}

#[inline(always)]
fn rms_norm_body(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    assert!(x.len() == weight.len() && x.len() == out.len());
    let mean = dot_body(x, x) / x.len() as f32;
    let factor = 1.0 / (mean + epsilon).sqrt();
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * factor * weight;
    }
}

#[inline(always)]
fn silu_mul_body(gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len());
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
}

#[inline(always)]
fn softmax_body(x: &mut [f32]) {
    let mut tops = [f32::NEG_INFINITY; LANES];
    for block in x.chunks(LANES) {
        for (top, x) in tops.iter_mut().zip(block) {
            *top = if *x > *top { *x } else { *top };
        }
    }
    let largest = tops.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0f32; LANES];
    for block in x.chunks_mut(LANES) {
        for (sum, x) in sums.iter_mut().zip(block) {
            *x = exp(*x - largest);
            *sum += *x;
        }
    }
    let factor = 1.0 / fold(sums);
    for x in x {
        *x *= factor;
    }
}

/// e to the `x`, wrong by some units in the last place at most; 0 below -87.3 and infinite above
/// 88.7. The polynomial is that of Cephes' `expf`.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // 1.5 x 2^23: adding it rounds to the nearest integer, which the lowest bits then are.
    const ROUND: f32 = 12_582_912.0;
    let bounded = x.clamp(-87.3, 88.7);
    let rounded = bounded.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    // ln 2 in two parts, the first with so few bits that its product with `n` is exact.
    let rest = n.mul_add(-0.693_359_4, bounded);
    let rest = n.mul_add(2.121_944_4e-4, rest);
    let mut sum = 1.987_569_1e-4f32;
    for term in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1] {
        sum = sum.mul_add(rest, term);
    }
    let value = sum.mul_add(rest * rest, rest) + 1.0;
    // 2^n in two factors, because n may be 128, which is no exponent of its own.
    let n = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) as u32) << 23);
    let value = value * power(half) * power(n - half);
    if x < -87.3 {
        0.0
    } else if x > 88.7 {
        f32::INFINITY
    } else {
        value
    }
}

/// f16 to f32, without a table or a branch: the exponent is put right by a multiplication, which
/// makes subnormal values normal as well.
#[inline(always)]
fn widen(half: u16) -> f32 {
    let bits = u32::from(half);
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | special | ((bits & 0x8000) << 16))
}

#[inline(always)]
fn narrow(value: f32) -> u16 {
    half::f16::from_f32_const(value).to_bits()
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::super::Isa;
    use super::*;

    fn available() -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    #[test]
    fn every_half_is_widened_and_narrowed() {
        let halves: Vec<u16> = (0..=u16::MAX).collect();
        for isa in available() {
            let mut wide = vec![0.0; halves.len()];
            f16_to_f32(isa, &halves, &mut wide);
            let mut back = vec![0; halves.len()];
            f32_to_f16(isa, &wide, &mut back);
            for ((half, wide), back) in halves.iter().zip(wide).zip(back) {
                let expected = f16::from_bits(*half);
                if expected.is_nan() {
                    assert!(wide.is_nan() && f16::from_bits(back).is_nan(), "{half:#x}, {isa}");
                } else {
                    assert_eq!(wide.to_bits(), expected.to_f32().to_bits(), "{half:#x}, {isa}");
                    assert_eq!(back, *half, "{isa}");
                }
            }
        }
    }

    #[test]
    fn exp_is_near() {
        let mut worst = 0.0f64;
        for step in -8730..8870 {
            let x = step as f32 / 100.0;
            let expected = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - expected).abs() / expected);
        }
        assert!(worst < 3e-7, "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-100.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(100.0), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }

    /// Values as they come, and as f16.
    fn vectors() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        (0usize..200).prop_flat_map(|len| {
            let values = || proptest::collection::vec(-8.0f32..8.0, len);
            (values(), values())
        })
    }

    /// What every function makes of two vectors, as bits.
    fn all(isa: Isa, a: &[f32], b: &[f32]) -> Vec<u32> {
        let mut halves = vec![0; b.len()];
        f32_to_f16(isa, b, &mut halves);
        let mut outs = vec![vec![dot(isa, a, b)], vec![dot_f16(isa, a, &halves)]];
        let mut out = |run: &dyn Fn(&mut [f32])| {
            let mut values = a.to_vec();
            run(&mut values);
            outs.push(values);
        };
        out(&|y| axpy(isa, 0.3, b, y));
        out(&|y| axpy_f16(isa, 0.3, &halves, y));
        out(&|y| add(isa, b, y));
        out(&|y| rms_norm(isa, a, b, 1e-5, y));
        out(&|y| silu_mul(isa, y, b));
        out(&|y| softmax(isa, y));
        let values = outs.concat().into_iter().map(f32::to_bits);
        values.chain(halves.into_iter().map(u32::from)).collect()
    }

    proptest! {
        #[test]
        fn the_same_bits_everywhere((a, b) in vectors()) {
            let expected = all(Isa::Scalar, &a, &b);
            for isa in available() {
                prop_assert_eq!(&all(isa, &a, &b), &expected, "{}", isa);
            }
        }

        #[test]
        fn near_what_is_meant((a, b) in vectors()) {
            let isa = Isa::best();
            let exact: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            prop_assert!((f64::from(dot(isa, &a, &b)) - exact).abs() < 1e-2);

            let mut weights = a.clone();
            softmax(isa, &mut weights);
            let total: f64 = a.iter().map(|a| f64::from(*a).exp()).sum();
            for (weight, a) in weights.iter().zip(&a) {
                prop_assert!((f64::from(*weight) - f64::from(*a).exp() / total).abs() < 1e-6);
            }

            let mut gate = a.clone();
            silu_mul(isa, &mut gate, &b);
            for ((out, a), b) in gate.iter().zip(&a).zip(&b) {
                let (a, b) = (f64::from(*a), f64::from(*b));
                prop_assert!((f64::from(*out) - a / (1.0 + (-a).exp()) * b).abs() < 1e-4);
            }

            let mut normed = a.clone();
            rms_norm(isa, &a, &b, 1e-5, &mut normed);
            let squares: f64 = a.iter().map(|a| f64::from(*a).powi(2)).sum();
            let factor = 1.0 / (squares / a.len() as f64 + 1e-5).sqrt();
            for ((out, a), b) in normed.iter().zip(&a).zip(&b) {
                prop_assert!((f64::from(*out) - f64::from(*a) * factor * f64::from(*b)).abs() < 1e-4);
            }
        }
    }
}
