//! The plan of a test batch: which entry shall end how, and which number it pretends
//! to ring.

use dialtone_auth::Phone;
use dialtone_clock::rng_for;
use dialtone_contract::{OutcomeWeights, PlannedOutcome};
use rand::Rng as _;

/// Deals the exact multiset of `weights` to the entries, in an order that only the
/// seed decides (Fisher-Yates).
pub fn outcomes(seed: u64, weights: OutcomeWeights) -> Vec<PlannedOutcome> {
    let repeat = |(outcome, n): (PlannedOutcome, u32)| std::iter::repeat_n(outcome, n as usize);
    let mut plan: Vec<_> = weights.pairs().into_iter().flat_map(repeat).collect();
    let mut rng = rng_for(seed, &[b"plan"]);
    for last in (1..plan.len()).rev() {
        // Modulo bias is below 2^-44 for a million entries.
        let other = rng.next_u64() % (last as u64 + 1);
        plan.swap(last, usize::try_from(other).expect("no larger than an index"));
    }
    plan
}

/// The simulated number of the entry at place `seq`: `+1555000` and the place, padded
/// to four digits.
pub fn number(seq: u32) -> Phone {
    Phone::parse(&format!("+1555000{seq:04}")).expect("a place has at most ten digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_multiset_is_exact_for_every_seed() {
        let weights = OutcomeWeights { completed: 24, failed: 100, stuck: 15, dropped: 10 };
        for seed in 0..200 {
            let plan = outcomes(seed, weights);
            for (outcome, n) in weights.pairs() {
                assert_eq!(plan.iter().filter(|o| **o == outcome).count(), n as usize);
            }
        }
        assert_eq!(outcomes(7, weights), outcomes(7, weights));
        assert_ne!(outcomes(7, weights), outcomes(8, weights));
    }

    #[test]
    fn numbers_lie_in_the_simulated_range() {
        for seq in [1, 149, 9_999, 1_000_000] {
            assert!(number(seq).is_simulated(), "{seq}");
        }
        assert_eq!(number(1).expose(), "+15550000001");
    }
}
