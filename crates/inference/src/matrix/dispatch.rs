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
