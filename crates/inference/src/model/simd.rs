//! The loops of the forward pass that are not matrix products, compiled once per instruction set.
//!
//! They are plain Rust over lanes of a fixed width, which the compiler turns into the vectors of
//! the instruction set. Each value comes from the same operations in the same order whatever the
//! number of rows and the width of the vectors, so a row's result depends neither on its
//! companions nor on the instruction set. Products are fused with sums everywhere for that reason,
//! though plain Rust calls a function for it.

/// Declares `fn name(isa, ..)`, which runs the generic body `body::<WIDTH>(..)` compiled for `isa`;
/// the width is how many tokens or channels are best taken at once.
macro_rules! per_isa {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        #[cfg_attr(
            target_arch = "x86_64",
            expect(unsafe_code, reason = "calls of functions compiled for an instruction set")
        )]
        $vis fn $name(isa: $crate::matrix::Isa, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
                fn avx512($($arg: $ty),*) {
                    $body::<32>($($arg),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) {
                    $body::<16>($($arg),*);
                }
                match isa {
                    // SAFETY: a model is only made for an instruction set that was found here.
                    $crate::matrix::Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::matrix::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    _ => {}
                }
            }
            // Vectors of Arm are part of its base instruction set: nothing has to be chosen.
            let _ = isa;
            $body::<16>($($arg),*);
        }
    };
}
pub(super) use per_isa;

/// e to the `x`, within 2 units in the last place; `x` is held within -87..88, where the result
/// is a normal number. After Cephes `expf`: 2 to the nearest integer times a polynomial.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// Adding it leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x > -87.0 { x } else { -87.0 };
    let x = if x < 88.0 { x } else { 88.0 };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    let mut p: f32 = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p.mul_add(r, c);
    }
    let p = p.mul_add(r * r, r + 1.0);
    p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// The sum of 32 lanes, always added in the same order.
#[inline(always)]
pub(super) fn sum(lanes: &[f32; 32]) -> f32 {
    let mut lanes = *lanes;
    for half in [16, 8, 4, 2, 1] {
        for at in 0..half {
            lanes[at] += lanes[at + half];
        }
    }
    lanes[0]
}

/// The largest of 32 lanes.
#[inline(always)]
pub(super) fn maximum(lanes: &[f32; 32]) -> f32 {
    let mut lanes = *lanes;
    for half in [16, 8, 4, 2, 1] {
        for at in 0..half {
            let (a, b) = (lanes[at], lanes[at + half]);
            lanes[at] = if a > b { a } else { b };
        }
    }
    lanes[0]
}

/// Asks for values that will be read soon; they come while something else is computed.
#[inline(always)]
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "a prefetch takes a pointer"))]
pub(super) fn fetch(values: &[u16]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(32) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 processor can, and nothing is read.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

per_isa! {
    /// Divides each row of `width` values by its root mean square (with `eps` under the root) and
    /// multiplies by `weight`. Zhang and Sennrich, "Root Mean Square Layer Normalization".
    pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = rms_norm_rows
}

#[inline(always)]
fn rms_norm_rows<const W: usize>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mut lanes = [0.0f32; 32];
        let (whole, rest) = x.as_chunks::<32>();
        for chunk in whole {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane = x.mul_add(x, *lane);
            }
        }
        for (lane, &x) in lanes.iter_mut().zip(rest) {
            *lane = x.mul_add(x, *lane);
        }
        let scale = 1.0 / (sum(&lanes) / width as f32 + eps).sqrt();
        for ((out, &x), &weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * scale * weight;
        }
    }
}

per_isa! {
    /// `gate = silu(gate) * up`, where silu(x) = x / (1 + e^-x).
    pub(super) fn silu_mul(gate: &mut [f32], up: &[f32]) = silu_mul_all
}

#[inline(always)]
fn silu_mul_all<const W: usize>(gate: &mut [f32], up: &[f32]) {
    for (gate, &up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
}

per_isa! {
    /// `to += from`; rows of `from` may be shorter and are then added to every row (a bias).
    pub(super) fn add(to: &mut [f32], from: &[f32]) = add_all
}

#[inline(always)]
fn add_all<const W: usize>(to: &mut [f32], from: &[f32]) {
    for to in to.chunks_exact_mut(from.len().max(1)) {
        for (to, &from) in to.iter_mut().zip(from) {
            *to += from;
        }
    }
}

per_isa! {
    /// What is lost of `x` when it is rounded to 8 bits, 32 values with one scale, as
    /// [`Activations`](crate::matrix::Activations) does.
    pub(super) fn lost(x: &[f32], out: &mut [f32]) = lost_blocks
}

#[inline(always)]
fn lost_blocks<const W: usize>(x: &[f32], out: &mut [f32]) {
    /// Adding it to a small number leaves the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    for (x, out) in x.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let largest = maximum(&x.map(f32::abs));
        let (scale, inverse) =
            if largest < 1e-30 { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) };
        for (out, &x) in out.iter_mut().zip(x) {
            let kept = (x * inverse + ROUND) - ROUND;
            *out = x - kept * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for step in -87_000..88_000 {
            let x = step as f32 / 1000.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.5e-7, "e^{x} = {}, not {exact}", exp(x));
        }
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30] {
            assert!(exp(x).is_finite());
        }
    }

    #[test]
    fn norm_silu_and_add_do_what_they_say() {
        let x: Vec<f32> = (0..90).map(|i| (i as f32 - 40.0) / 7.0).collect();
        let weight: Vec<f32> = (0..45).map(|i| 1.0 + i as f32 / 10.0).collect();
        let mut out = vec![0.0; 90];
        rms_norm(crate::matrix::Isa::Scalar, &x, &weight, 1e-5, &mut out);
        for (x, out) in x.chunks(45).zip(out.chunks(45)) {
            let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 45.0;
            for i in 0..45 {
                let exact = f64::from(x[i]) / (mean + 1e-5).sqrt() * f64::from(weight[i]);
                assert!((f64::from(out[i]) - exact).abs() < 1e-5);
            }
        }
        let mut gate = vec![-3.0f32, 0.0, 2.0];
        silu_mul(crate::matrix::Isa::Scalar, &mut gate, &[1.0, 5.0, -2.0]);
        for (found, exact) in gate.iter().zip([-0.142_277_62, 0.0, -3.523_188_3]) {
            assert!((found - exact).abs() < 1e-6);
        }
        let mut to = vec![1.0, 2.0, 3.0, 4.0];
        add(crate::matrix::Isa::Scalar, &mut to, &[1.0, -1.0]);
        assert_eq!(to, [2.0, 1.0, 4.0, 3.0]);
    }
}
