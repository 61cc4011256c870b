use super::activations::{PANEL, Panel};
use super::isa::Isa;
use super::layout::{Format, ROWS};
use super::scalar;

/// 16 rows of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    /// What multiplies the quants; empty for floats.
    pub(super) scales: &'a [u8],
    /// The weights. Begins at a cache line.
    pub(super) quants: &'a [u8],
    /// Inputs.
    pub(super) cols: usize,
}

/// The products of a panel's rows with a group's rows: one array of 16 for each row of the panel.
pub(super) type Products = [[f32; ROWS]; PANEL];

/// Multiplies a group with a panel. The panel's rows and the group's inputs agree; of the
/// products only as many as the panel has rows are written.
///
/// # Safety
/// The processor has the instruction set that the kernel is written for.
pub(super) type Kernel = unsafe fn(Group<'_>, Panel<'_>, &mut Products);

/// The kernel for a format. `isa` is available.
pub(super) fn kernel(isa: Isa, format: Format) -> Kernel {
    let _ = isa;
    scalar::kernel(format)
}
