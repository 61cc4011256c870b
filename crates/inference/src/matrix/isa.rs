use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that the kernels are written for.
///
/// [`multiply`](super::multiply) gives the same bits on all of them: sums of integers are exact,
/// and those of floats are done in one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust: the reference for all others.
    Scalar,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 with VNNI.
    Avx512,
    /// NEON with dot products.
    Neon,
}

impl Isa {
    /// Every instruction set, the slowest first.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Neon, Self::Avx2, Self::Avx512];

    /// The fastest one that this processor has.
    pub fn best() -> Self {
        let mut found = Self::Scalar;
        for isa in Self::ALL {
            if isa.is_available() {
                found = isa;
            }
        }
        found
    }

    /// Whether this processor has it, and the operating system lets it be used.
    pub fn is_available(self) -> bool {
        // Asked before every operation: one load instead of six look-ups.
        static KNOWN: AtomicU8 = AtomicU8::new(0);
        let mut known = KNOWN.load(Ordering::Relaxed);
        if known == 0 {
            known = Self::ALL.into_iter().filter(|isa| isa.detect()).map(Self::bit).sum();
            KNOWN.store(known, Ordering::Relaxed);
        }
        known & self.bit() != 0
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    fn detect(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.detect()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("dotprod"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
            #[cfg(not(target_arch = "aarch64"))]
            Self::Neon => false,
        }
    }

    /// Its name in options and reports: `avx512`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    /// This one, if the processor has it; else plain Rust, which gives the same values. What
    /// makes the unsafe kernels safe to choose by.
    pub(super) fn or_scalar(self) -> Self {
        if self.is_available() { self } else { Self::Scalar }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no instruction set's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no instruction set; there are scalar, neon, avx2 and avx512")]
pub struct UnknownIsa(pub String);

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Self, UnknownIsa> {
        Self::ALL
            .into_iter()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| UnknownIsa(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for isa in Isa::ALL {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
        assert_eq!("sse".parse::<Isa>(), Err(UnknownIsa("sse".into())));
    }

    #[test]
    fn the_best_is_available() {
        assert!(Isa::best().is_available());
        assert!(Isa::Scalar.is_available());
        assert!(!Isa::Neon.is_available() || cfg!(target_arch = "aarch64"));
    }
}
