//! Packed matrices: what they hold, what they multiply to, and that nothing but the two rows of a
//! product decides its bits.

use dialtone_inference::gguf::Type;
use dialtone_inference::matrix::{Activations, Isa, Job, Matrix, PackError, Pool, multiply};
use dialtone_inference::quant::{dequantize, quantize};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Every type that is packed.
const TYPES: [Type; 11] = [
    Type::F32,
    Type::F16,
    Type::Bf16,
    Type::Q4_0,
    Type::Q4_1,
    Type::Q5_0,
    Type::Q5_1,
    Type::Q8_0,
    Type::Q4K,
    Type::Q5K,
    Type::Q6K,
];

fn isas() -> Vec<Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
}

/// Values in -1..1.
fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| (rng.next_u32() as i32) as f32 / 2f32.powi(31)).collect()
}

/// The bytes of a tensor with every bit of its quants at random, and scales of reasonable size:
/// what `quantize` leaves out (the extremes of each format) is there as well.
fn bytes(ty: Type, seed: u64, weights: usize) -> Vec<u8> {
    let mut bytes = vec![0; weights];
    let from = values(seed, weights);
    if matches!(ty, Type::F32 | Type::F16 | Type::Bf16) || seed.is_multiple_of(2) {
        return quantize(ty, &from).expect("whole blocks");
    }
    bytes.resize(weights / ty.block() * ty.block_bytes(), 0);
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    // f16 factors, where each format has them: small, of either sign.
    let at: &[usize] = match ty {
        Type::Q4_1 | Type::Q5_1 | Type::Q4K | Type::Q5K => &[0, 2],
        Type::Q6K => &[208],
        _ => &[0],
    };
    for block in bytes.chunks_exact_mut(ty.block_bytes()) {
        for at in at {
            block[at + 1] = (block[at + 1] & 0x83) | 0x20;
        }
    }
    bytes
}

/// The product of `n` rows with one matrix.
fn product(matrix: &Matrix, x: &[f32], n: usize, pool: &Pool, isa: Isa) -> Vec<f32> {
    let mut activations = Activations::new();
    activations.quantize(isa, x, n, matrix.cols(), &[matrix]);
    let mut out = vec![f32::NAN; n * matrix.rows()];
    multiply(&mut [Job { matrix, out: &mut out }], &activations, pool, isa);
    out
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn rows_are_what_the_format_means() {
    for ty in TYPES {
        for seed in 0..4 {
            let (rows, cols) = (37, 512);
            let bytes = bytes(ty, seed, rows * cols);
            let mut expected = vec![0.0; rows * cols];
            dequantize(ty, &bytes, &mut expected).expect("whole blocks");
            let matrix = Matrix::pack(ty, rows, cols, &bytes).expect("it fits");
            let mut row = vec![0.0; cols];
            for (r, expected) in expected.chunks_exact(cols).enumerate() {
                matrix.row(r, &mut row);
                assert!(row == expected, "{ty}, row {r}");
            }
        }
    }
}

#[test]
fn products_are_near_those_of_floats() {
    let pool = Pool::new(1);
    for ty in TYPES {
        let (rows, cols, n) = (48, 1024, 3);
        let bytes = bytes(ty, 2, rows * cols);
        let matrix = Matrix::pack(ty, rows, cols, &bytes).expect("it fits");
        let mut weights = vec![0.0; rows * cols];
        dequantize(ty, &bytes, &mut weights).expect("whole blocks");
        let x = values(9, n * cols);
        let out = product(&matrix, &x, n, &pool, Isa::best());
        // Activations have 127 steps to their block's largest, so about 1/440 of it is wrong in
        // each (root mean square), and the sum of 1024 is wrong by 32 times that: 0.04. Floats
        // are right but for roundings.
        let most = if matches!(ty, Type::F32 | Type::F16 | Type::Bf16) { 1e-4 } else { 0.2 };
        for (m, out) in out.chunks_exact(rows).enumerate() {
            for (r, out) in out.iter().enumerate() {
                let pairs = x[m * cols..][..cols].iter().zip(&weights[r * cols..][..cols]);
                let exact: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                assert!((f64::from(*out) - exact).abs() < most, "{ty} {m} {r}: {out} {exact}");
            }
        }
    }
}

#[test]
fn every_instruction_set_gives_the_bits_of_plain_rust() {
    let pool = Pool::new(1);
    for ty in TYPES {
        for seed in 0..4 {
            let (rows, cols, n) = (40, 768, 13);
            let matrix = Matrix::pack(ty, rows, cols, &bytes(ty, seed, rows * cols)).expect("fits");
            let x = values(seed + 100, n * cols);
            let expected = bits(&product(&matrix, &x, n, &pool, Isa::Scalar));
            for isa in isas() {
                let found = bits(&product(&matrix, &x, n, &pool, isa));
                assert!(found == expected, "{ty} with {isa}, seed {seed}");
            }
        }
    }
}

#[test]
fn extreme_quants_do_not_overflow() {
    // Every bit set and every bit clear, times activations that are all at their limit.
    let (rows, cols) = (16, 512);
    let pool = Pool::new(1);
    for ty in TYPES.into_iter().filter(|ty| ty.block() > 1) {
        for fill in [0u8, 0xff, 0x80, 0x7f, 0x88, 0x77] {
            let mut bytes = vec![fill; rows * cols / ty.block() * ty.block_bytes()];
            for block in bytes.chunks_exact_mut(ty.block_bytes()) {
                match ty {
                    Type::Q6K => block[208..].copy_from_slice(&[0, 0x3c]),
                    Type::Q4_0 | Type::Q5_0 | Type::Q8_0 => block[..2].copy_from_slice(&[0, 0x3c]),
                    _ => block[..4].copy_from_slice(&[0, 0x3c, 0, 0x3c]),
                }
            }
            let matrix = Matrix::pack(ty, rows, cols, &bytes).expect("it fits");
            let mut row = vec![0.0; cols];
            matrix.row(0, &mut row);
            for x in [vec![1.0f32; cols], vec![-1.0; cols]] {
                let exact: f64 =
                    row.iter().zip(&x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                for isa in isas() {
                    let out = product(&matrix, &x, 1, &pool, isa)[0];
                    let error = (f64::from(out) - exact).abs();
                    assert!(error <= exact.abs() * 1e-5, "{ty} {fill:#x} {isa}: {out} {exact}");
                }
            }
        }
    }
}

#[test]
fn packing_from_pieces_is_packing_at_once() {
    let (rows, cols) = (50, 256);
    for ty in TYPES {
        let bytes = bytes(ty, 1, rows * cols);
        let row = bytes.len() / rows;
        let mut packer = Matrix::packer(ty, rows, cols).expect("it fits");
        let mut rest = &bytes[..];
        for rows in [0, 1, 20, 0, 29] {
            let (piece, left) = rest.split_at(rows * row);
            packer.push(piece).expect("whole rows");
            rest = left;
        }
        let pieces = packer.finish().expect("all rows");
        let whole = Matrix::pack(ty, rows, cols, &bytes).expect("it fits");
        let (mut a, mut b) = (vec![0.0; cols], vec![0.0; cols]);
        for r in 0..rows {
            pieces.row(r, &mut a);
            whole.row(r, &mut b);
            assert!(a == b, "{ty}, row {r}");
        }
    }
}

#[test]
fn what_cannot_be_packed_is_refused() {
    let shape = |ty, rows, cols| Err(PackError::Shape { ty, rows, cols });
    let pack = |ty, rows, cols, len| {
        Matrix::pack(ty, rows, cols, &vec![0; len]).map(|matrix| matrix.bytes())
    };
    assert_eq!(pack(Type::Q2K, 1, 256, 84), Err(PackError::Type(Type::Q2K)));
    assert_eq!(pack(Type::Q4_0, 1, 33, 18), shape(Type::Q4_0, 1, 33));
    assert_eq!(pack(Type::Q4K, 1, 128, 72), shape(Type::Q4K, 1, 128));
    assert_eq!(pack(Type::Q4_0, 0, 32, 0), shape(Type::Q4_0, 0, 32));
    assert_eq!(pack(Type::Q4_0, 1, 0, 0), shape(Type::Q4_0, 1, 0));
    assert_eq!(pack(Type::F32, 1, 1 << 25, 0), shape(Type::F32, 1, 1 << 25));
    assert_eq!(pack(Type::F32, usize::MAX, 1 << 20, 0), shape(Type::F32, usize::MAX, 1 << 20));
    assert!(matches!(pack(Type::F32, 1 << 38, 1 << 20, 0), Err(PackError::Memory(_))));
    let bytes = |found, expected| Err(PackError::Bytes { found, expected });
    assert_eq!(pack(Type::Q4_0, 2, 32, 35), bytes(35, 18));
    assert_eq!(pack(Type::Q4_0, 2, 32, 54), bytes(54, 36));
    assert_eq!(pack(Type::Q4_0, 2, 32, 18), bytes(18, 36));
    assert_eq!(pack(Type::Q4_0, 2, 32, 36), Ok(16 * 18 + 32));
}

#[test]
fn jobs_of_different_formats_share_one_region() {
    let pool = Pool::new(3);
    let (cols, n) = (256, 11);
    let matrices: Vec<Matrix> = TYPES
        .into_iter()
        .zip([16, 5, 100, 33, 64, 17, 1, 48, 31, 96, 200])
        .map(|(ty, rows)| Matrix::pack(ty, rows, cols, &bytes(ty, 3, rows * cols)).expect("fits"))
        .collect();
    let x = values(5, n * cols);
    let isa = Isa::best();
    let mut activations = Activations::new();
    activations.quantize(isa, &x, n, cols, &matrices.iter().collect::<Vec<_>>());
    let mut outs: Vec<Vec<f32>> = matrices.iter().map(|m| vec![f32::NAN; n * m.rows()]).collect();
    let mut jobs: Vec<Job<'_>> =
        matrices.iter().zip(&mut outs).map(|(matrix, out)| Job { matrix, out }).collect();
    multiply(&mut jobs, &activations, &pool, isa);
    for (matrix, out) in matrices.iter().zip(&outs) {
        assert_eq!(bits(out), bits(&product(matrix, &x, n, &Pool::new(1), isa)));
    }
}

#[test]
fn no_rows_are_no_work() {
    let matrix = Matrix::pack(Type::F32, 3, 5, &[0; 60]).expect("it fits");
    assert_eq!(product(&matrix, &[], 0, &Pool::new(2), Isa::best()), Vec::<f32>::new());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The heart of it: a row of activations gives the same bits alone, in any batch, at any place
    /// in it, with any number of threads.
    #[test]
    fn a_row_is_alone_in_any_batch(
        ty in proptest::sample::select(&TYPES[..]),
        rows in 1usize..70,
        blocks in 1usize..4,
        n in 1usize..=64,
        threads in 1usize..=4,
        seed in any::<u64>(),
    ) {
        let cols = blocks * ty.block().max(32);
        let matrix = Matrix::pack(ty, rows, cols, &bytes(ty, seed, rows * cols)).expect("it fits");
        let x = values(seed ^ 1, n * cols);
        let pool = Pool::new(threads);
        for isa in isas() {
            let batch = product(&matrix, &x, n, &pool, isa);
            for (m, together) in batch.chunks_exact(rows).enumerate() {
                let alone = product(&matrix, &x[m * cols..][..cols], 1, &Pool::new(1), isa);
                prop_assert_eq!(bits(together), bits(&alone), "row {} of {}, {}", m, n, isa);
            }
        }
    }

    /// Widths that are no whole blocks, for floats.
    #[test]
    fn floats_have_any_width(
        ty in proptest::sample::select(&TYPES[..3]),
        rows in 1usize..40,
        cols in 1usize..70,
        n in 1usize..=20,
    ) {
        let matrix = Matrix::pack(ty, rows, cols, &bytes(ty, 8, rows * cols)).expect("it fits");
        let x = values(4, n * cols);
        let expected = bits(&product(&matrix, &x, n, &Pool::new(1), Isa::Scalar));
        for isa in isas() {
            prop_assert_eq!(&bits(&product(&matrix, &x, n, &Pool::new(1), isa)), &expected);
        }
    }
}
