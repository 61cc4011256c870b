use super::*;
use crate::matrix::Isa;

const LAYERS: usize = 2;

/// Some number for each place: the same every time.
fn number(seed: usize) -> f32 {
    let mixed = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 40) as f32 / (1 << 24) as f32 - 0.5) * 4.0
}

struct Case {
    store: Store,
    table: Vec<PageId>,
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    dim: usize,
}

fn case(tokens: usize, dim: usize) -> Case {
    let mut store = Store::new(9, LAYERS, 2, dim).expect("memory");
    let table: Vec<PageId> = vec![7, 2, 5, 0, 8];
    let row = |at: usize, kind: usize| -> Vec<f32> {
        (0..2 * dim).map(|d| number(at * 1000 + d * 2 + kind)).collect()
    };
    let keys: Vec<_> = (0..tokens).map(|at| row(at, 0)).collect();
    let values: Vec<_> = (0..tokens).map(|at| row(at, 1)).collect();
    for at in 0..tokens {
        store.put(table[at / PAGE], 1, at % PAGE, &keys[at], &values[at]);
    }
    Case { store, table, keys, values, dim }
}

impl Case {
    fn query(&self, i: usize) -> Vec<f32> {
        (0..self.dim).map(|d| number(77_000 + i * 100 + d)).collect()
    }

    fn attend(&self, isa: Isa, positions: &[usize], first: usize) -> Vec<Vec<f32>> {
        let queries: Vec<_> = (first..first + positions.len()).map(|i| self.query(i)).collect();
        let mut block = Block::default();
        block.set(positions.len(), self.dim, |i| (positions[i], &queries[i]));
        let past = Past {
            store: &self.store,
            table: &self.table,
            layer: 1,
            head: 1,
            next: Some((self.table[0], 0)),
        };
        attend(isa, &mut block, past, self.dim);
        (0..positions.len()).map(|i| block.result(i, self.dim).to_vec()).collect()
    }

    /// The textbook: softmax over all products at once, in f64.
    fn plain(&self, position: usize, i: usize) -> Vec<f64> {
        let half = |x: f32| f64::from(half::f16::from_f32(x).to_f32());
        let query = self.query(i);
        let head = self.dim..2 * self.dim;
        let scores: Vec<f64> = (0..=position)
            .map(|at| {
                let keys = self.keys[at][head.clone()].iter();
                let dot: f64 = keys.zip(&query).map(|(&k, &q)| half(k) * f64::from(q)).sum();
                (dot / (self.dim as f64).sqrt()).exp()
            })
            .collect();
        let total: f64 = scores.iter().sum();
        (0..self.dim)
            .map(|d| {
                let weighed = scores.iter().zip(&self.values);
                weighed.map(|(p, v)| p * half(v[self.dim + d])).sum::<f64>() / total
            })
            .collect()
    }
}

fn available() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

#[test]
fn it_is_the_textbook_attention() {
    for dim in [8, 32, 64, 80] {
        let case = case(130, dim);
        let positions = [0, 0, 5, 31, 32, 33, 64, 95, 96, 129, 129];
        for isa in available() {
            for (i, found) in case.attend(isa, &positions, 0).iter().enumerate() {
                for (found, exact) in found.iter().zip(case.plain(positions[i], i)) {
                    assert!((f64::from(*found) - exact).abs() < 2e-6, "{isa} {dim} {i}");
                }
            }
        }
    }
}

#[test]
fn a_query_gets_the_same_bits_in_any_block_and_on_any_instruction_set() {
    let case = case(130, 48);
    let positions = [3, 3, 30, 31, 32, 40, 63, 64, 100, 101, 128, 129];
    let all = case.attend(Isa::Scalar, &positions, 0);
    for isa in available() {
        assert_eq!(all, case.attend(isa, &positions, 0), "{isa}");
        for size in [1, 2, 3, 5] {
            for first in (0..positions.len()).step_by(size) {
                let some = &positions[first..(first + size).min(positions.len())];
                let found = case.attend(isa, some, first);
                assert_eq!(all[first..first + some.len()], found, "{isa} {size}");
            }
        }
    }
}

#[test]
fn numbers_past_f16_stay_finite() {
    let mut store = Store::new(1, 1, 1, 16).expect("memory");
    store.put(0, 0, 0, &[1e30; 16], &[f32::INFINITY; 16]);
    store.put(0, 0, 1, &[-1e30; 16], &[f32::NAN; 16]);
    let mut block = Block::default();
    let query = [0.5; 16];
    block.set(1, 16, |_| (1, &query));
    attend(
        Isa::Scalar,
        &mut block,
        Past { store: &store, table: &[0], layer: 0, head: 0, next: None },
        16,
    );
    assert!(block.result(0, 16).iter().all(|x| x.is_finite()));
}
