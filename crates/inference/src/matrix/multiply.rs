use std::marker::PhantomData;

use super::activations::{Activations, PANEL};
use super::kernel::{Group, Kernel, Products, kernel};
use super::layout::{ROWS, Weights};
use super::{Isa, Matrix, Pool};

/// One product to compute.
pub struct Job<'a> {
    /// The weights.
    pub matrix: &'a Matrix,
    /// Where the product goes: for each row of activations, one value per row of the matrix.
    pub out: &'a mut [f32],
}

/// Products that one parallel region takes at once.
const JOBS: usize = 8;
/// Multiplications of one claimed item, about: some microseconds of work, far more than a claim
/// costs, and far less than a time slice.
const ITEM: usize = 1 << 18;

/// Multiplies `x` with every job's matrix, in one parallel region. Allocates nothing.
///
/// Each value depends on its row of activations and its row of weights alone: the same bits for
/// any number of rows in `x`, any number of threads, any instruction set. Where the processor
/// lacks `isa`, plain Rust is used.
///
/// # Panics
/// If a matrix has another number of inputs than `x`, was not among those that `x` was prepared
/// for, or `out` has another size than `rows of x` x `rows of the matrix`.
pub fn multiply(jobs: &mut [Job<'_>], x: &Activations, pool: &Pool, isa: Isa) {
    let isa = isa.or_scalar();
    for jobs in jobs.chunks_mut(JOBS) {
        let mut tasks = [const { None }; JOBS];
        for (task, job) in tasks.iter_mut().zip(jobs) {
            *task = Some(Task::new(job, x, isa));
        }
        let items = tasks.iter().flatten().map(|task| task.items).sum();
        pool.run(items, &|mut item| {
            for task in tasks.iter().flatten() {
                if item < task.items {
                    return task.run(item, x);
                }
                item -= task.items;
            }
        });
    }
}

/// The instruction set for a product with `n` rows. The bits are the same on all; one row waits for
/// memory, which the narrower loads of AVX2 keep busier.
fn for_rows(n: usize, isa: Isa) -> Isa {
    if n == 1 && isa == Isa::Avx512 && Isa::Avx2.is_available() { Isa::Avx2 } else { isa }
}

/// A job, split into items of a few groups of rows.
struct Task<'a> {
    matrix: &'a Matrix,
    kernel: Kernel,
    floats: bool,
    /// Groups of an item.
    groups: usize,
    items: usize,
    out: Out<'a>,
}

/// A product that several threads write, each its own rows of weights.
struct Out<'a> {
    values: *mut f32,
    /// Rows of activations.
    n: usize,
    /// Rows of weights.
    rows: usize,
    life: PhantomData<&'a mut [f32]>,
}

#[expect(unsafe_code, reason = "threads write disjoint parts of one slice")]
// SAFETY: it stands for an exclusive borrow of plain values; `Out::write` is what threads share,
// and its contract keeps them apart.
unsafe impl Sync for Out<'_> {}

impl<'a> Task<'a> {
    fn new(job: &'a mut Job<'_>, x: &Activations, isa: Isa) -> Self {
        let matrix = job.matrix;
        let (n, rows) = (x.rows(), matrix.rows());
        assert_eq!(matrix.cols(), x.cols(), "the inputs of a matrix");
        assert_eq!(job.out.len(), n * rows, "{n} x {rows} values");
        let most = matrix.groups();
        let groups = (ITEM / (n.max(1) * ROWS * matrix.cols())).clamp(1, most);
        Self {
            matrix,
            kernel: kernel(for_rows(n, isa), matrix.format()),
            floats: matches!(matrix.format().weights(), Weights::Floats(_)),
            groups,
            items: if n == 0 { 0 } else { most.div_ceil(groups) },
            out: Out { values: job.out.as_mut_ptr(), n, rows, life: PhantomData },
        }
    }

    /// Computes the products of one item's groups. No two calls have the same item at once.
    fn run(&self, item: usize, x: &Activations) {
        let first = item * self.groups;
        let end = (first + self.groups).min(self.matrix.groups());
        for index in first..end {
            let (bytes, cols) = (self.matrix.group(index), self.matrix.cols());
            for panel in 0..x.panels() {
                let group = Group { bytes, cols, fetch: panel == 0 };
                let mut products: Products = [[0.0; ROWS]; PANEL];
                let rows = x.panel(panel, self.floats);
                #[expect(unsafe_code, reason = "the kernels are written for instruction sets")]
                // SAFETY: `multiply` chose the kernel for an instruction set that is available.
                unsafe {
                    (self.kernel)(&group, &rows, &mut products);
                }
                for (m, products) in products[..rows.rows].iter().enumerate() {
                    #[expect(unsafe_code, reason = "threads write disjoint parts of one slice")]
                    // SAFETY: this group belongs to this item, and `Pool::run` gives every item
                    // to one call.
                    unsafe {
                        self.out.write(panel * PANEL + m, index, products);
                    }
                }
            }
        }
    }
}

impl Out<'_> {
    /// Writes the products of a row of activations with a group.
    ///
    /// # Safety
    /// No other thread writes this group meanwhile.
    #[expect(unsafe_code, reason = "threads write disjoint parts of one slice")]
    unsafe fn write(&self, m: usize, group: usize, products: &[f32; ROWS]) {
        assert!(m < self.n && group * ROWS < self.rows, "a value outside the product");
        let count = (self.rows - group * ROWS).min(ROWS);
        let at = m * self.rows + group * ROWS;
        // SAFETY: `values` are `n x rows` values borrowed exclusively for the life of `self`, and
        // `at + count` is at most `(m + 1) x rows`; the caller keeps other threads away from them.
        unsafe {
            std::ptr::copy_nonoverlapping(products.as_ptr(), self.values.add(at), count);
        }
    }
}
