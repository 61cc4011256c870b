use super::activations::{PANEL, Panel};
use super::isa::Isa;
use super::layout::{Floats, Format, Integers, ROWS};
use super::scalar::Scalar;

#[cfg(target_arch = "aarch64")]
use super::neon::Neon;
#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512};

/// 16 rows of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    /// The weights, as [`layout`](super::layout) has them. Begin at a cache line.
    pub(super) bytes: &'a [u8],
    /// Inputs.
    pub(super) cols: usize,
    /// Whether it is read for the first time in a while: what lies behind it is fetched then,
    /// where that helps.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "only kernels for x86-64 fetch ahead")
    )]
    pub(super) fetch: bool,
}

/// The products of a panel's rows with a group's rows: one array of 16 for each row of the panel.
pub(super) type Products = [[f32; ROWS]; PANEL];

/// Multiplies a group with a panel. The panel's rows and the group's inputs agree; of the
/// products only as many as the panel has rows are written.
///
/// # Safety
/// The processor has the instruction set that the kernel is written for.
pub(super) type Kernel = unsafe fn(&Group<'_>, &Panel<'_>, &mut Products);

/// The kernels of an instruction set, one for each format.
pub(super) trait Kernels {
    /// For quants.
    fn integers<F: Integers>() -> Kernel;
    /// For floats.
    fn floats<F: Floats>() -> Kernel;
}

/// The kernel for a format. Where there is none for `isa`, that in plain Rust, which gives the
/// same bits.
pub(super) fn kernel(isa: Isa, format: Format) -> Kernel {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => format.kernel::<Avx2>(),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => format.kernel::<Avx512>(),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => format.kernel::<Neon>(),
        _ => format.kernel::<Scalar>(),
    }
}
