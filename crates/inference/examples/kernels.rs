//! How fast matrices are multiplied: CPU time of one thread, per instruction set, format and
//! number of rows of activations.
//!
//! ```text
//! cargo run --release -p dialtone-inference --example kernels [ISA ..] [FORMAT ..] [model] [large] [pack]
//! ```

use std::time::{Duration, Instant};

use dialtone_inference::gguf::Type;
use dialtone_inference::matrix::{Activations, Isa, Job, Matrix, Pool, multiply};
use dialtone_inference::quant::quantize;

/// Weights of one token of SmolLM2-135M: rows, inputs, how many of each.
const LAYER: [(usize, usize, usize); 4] =
    [(576, 576, 2), (192, 576, 2), (1536, 576, 2), (576, 1536, 1)];
const LAYERS: usize = 30;
/// Matrices of a 1B model: rows, inputs, how many; more than any cache holds.
const LARGE: (usize, usize, usize) = (5632, 2048, 12);
/// What is measured: products with two sets of matrices, packing.
const SHAPES: [&str; 3] = ["model", "large", "pack"];
/// Time of one measurement.
const TIME: Duration = Duration::from_millis(300);
const ROUNDS: usize = 5;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // Of each kind of word, all that are named, or all if none is.
    let wanted = |name: &str, kind: &[&str]| {
        let mut named = words.iter().filter(|word| kind.contains(&word.as_str())).peekable();
        named.peek().is_none() || named.any(|word| word == name)
    };
    let isas = Isa::ALL.map(Isa::name);
    let types: Vec<&str> = Type::ALL.iter().map(|ty| ty.name()).collect();
    for ty in Type::ALL.iter().copied().filter(|ty| ty.runs() && wanted(ty.name(), &types)) {
        if wanted("pack", &SHAPES) {
            report_packing(ty);
        }
    }
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available() && wanted(isa.name(), &isas)) {
        for ty in Type::ALL.iter().copied().filter(|ty| ty.runs() && wanted(ty.name(), &types)) {
            if ty.block() == 32 && wanted("model", &SHAPES) {
                report(isa, ty, "model", &model(ty), &[1, 2, 4, 8, 64]);
            }
            if wanted("large", &SHAPES) {
                let matrices: Vec<Matrix> =
                    (0..LARGE.2).map(|_| pack(ty, LARGE.0, LARGE.1)).collect();
                report(isa, ty, "large", &matrices, &[1, 4, 8, 64]);
            }
        }
    }
}

/// How fast rows are packed.
fn report_packing(ty: Type) {
    let (rows, cols, _) = LARGE;
    let bytes = quantize(ty, &values(cols)).expect("whole blocks").repeat(rows);
    let best = best(|| drop(Matrix::pack(ty, rows, cols, &bytes).expect("it fits")));
    println!("pack {:5} {:7.1} MB/s", ty.name(), bytes.len() as f64 / best / 1e6);
}

/// Seconds of CPU time that one call of `step` takes: the best of some rounds.
fn best(mut step: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let (began, start, mut count) = (Instant::now(), cpu_time(), 0);
        while began.elapsed() < TIME {
            step();
            count += 1;
        }
        let spent = match (start, cpu_time()) {
            (Some(start), Some(end)) => end - start,
            _ => began.elapsed(),
        };
        best = best.min(spent.as_secs_f64() / f64::from(count));
    }
    best
}

/// All matrices of the layers of SmolLM2-135M.
fn model(ty: Type) -> Vec<Matrix> {
    let layer = || LAYER.into_iter().flat_map(|(rows, cols, count)| vec![(rows, cols); count]);
    (0..LAYERS).flat_map(|_| layer()).map(|(rows, cols)| pack(ty, rows, cols)).collect()
}

fn values(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state as i32) as f32 / 2f32.powi(31)
    };
    (0..len).map(next).collect()
}

fn pack(ty: Type, rows: usize, cols: usize) -> Matrix {
    // One row of values, again and again: to quantise all would take longer than to measure.
    let row = quantize(ty, &values(cols)).expect("whole blocks");
    Matrix::pack(ty, rows, cols, &row.repeat(rows)).expect("it fits")
}

fn report(isa: Isa, ty: Type, name: &str, matrices: &[Matrix], ns: &[usize]) {
    let weights: usize = matrices.iter().map(|m| m.rows() * m.cols()).sum();
    let bytes: usize = matrices.iter().map(Matrix::bytes).sum();
    let pool = Pool::new(1);
    for &n in ns {
        let best = best(step(isa, matrices, n, &pool));
        println!(
            "{isa:8} {:5} {name:6} {n:3} rows {:8.1} GMAC/s {:7.1} GB/s {:9.1} rows/s",
            ty.name(),
            (weights * n) as f64 / best / 1e9,
            bytes as f64 / best / 1e9,
            n as f64 / best,
        );
    }
}

/// What this thread has used of a processor; `None` where Linux does not say.
fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Multiplies `n` rows with every matrix, as a model would.
fn step<'a>(isa: Isa, matrices: &'a [Matrix], n: usize, pool: &'a Pool) -> impl FnMut() {
    let most = |size: fn(&Matrix) -> usize| matrices.iter().map(size).max().unwrap_or_default();
    let x = values(n * most(Matrix::cols));
    let mut out = vec![0.0; n * most(Matrix::rows)];
    let mut activations = Activations::new();
    move || {
        for matrix in matrices {
            let x = &x[..n * matrix.cols()];
            activations.quantize(isa, x, n, matrix.cols(), &[matrix]);
            let out = &mut out[..n * matrix.rows()];
            multiply(&mut [Job { matrix, out }], &activations, pool, isa);
        }
    }
}
