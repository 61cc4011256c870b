//! The plan of a test batch: which entry shall end how, and which number it pretends
//! to ring.

use dialtone_auth::Phone;
use dialtone_clock::rng_for;
use dialtone_contract::{PlannedOutcome, TestMix};
use rand::Rng as _;

/// Deals the exact multiset of `mix` to the entries, in an order that only the
/// seed decides (Fisher-Yates).
pub fn outcomes(seed: u64, mix: TestMix) -> Vec<PlannedOutcome> {
    let repeat = |(outcome, n): (PlannedOutcome, u32)| std::iter::repeat_n(outcome, n as usize);
    let mut plan: Vec<_> = mix.pairs().flat_map(repeat).collect();
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
    use dialtone_contract::{OutcomeWeights, ScriptedFaults};

    use super::*;

    #[test]
    fn the_multiset_is_exact_for_every_seed() {
        let weights = OutcomeWeights { completed: 24, failed: 100, stuck: 15, dropped: 10 };
        let mix = TestMix {
            weights,
            faults: ScriptedFaults { lost_callback: 3, ..ScriptedFaults::each(2) },
        };
        for seed in 0..200 {
            let plan = outcomes(seed, mix);
            assert_eq!(plan.len(), 162);
            for (outcome, n) in mix.pairs() {
                assert_eq!(plan.iter().filter(|o| **o == outcome).count(), n as usize);
            }
        }
        assert_eq!(outcomes(7, mix), outcomes(7, mix));
        assert_ne!(outcomes(7, mix), outcomes(8, mix));
    }

    #[test]
    fn numbers_lie_in_the_simulated_range() {
        for seq in [1, 149, 9_999, 1_000_000] {
            assert!(number(seq).is_simulated(), "{seq}");
        }
        assert_eq!(number(1).expose(), "+15550000001");
    }
}
