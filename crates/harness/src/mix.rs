//! How many calls of a test batch shall end how.

use dialtone_contract::{OutcomeWeights, limits};

/// Entries of a test batch when nothing else is asked for.
pub const TOTAL_DEFAULT: u32 = 149;

/// The mix of [`TOTAL_DEFAULT`] entries, and the proportions of every other total.
pub const DEFAULT: OutcomeWeights =
    OutcomeWeights { completed: 24, failed: 100, stuck: 15, dropped: 10 };

/// The counts as they were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `--total`.
    pub total: u64,
    /// `--fail-count`.
    pub fail: Option<u64>,
    /// `--stuck-count`.
    pub stuck: Option<u64>,
    /// `--dropped-count`.
    pub dropped: Option<u64>,
}

impl Asked {
    /// The mix that was asked for: the default one scaled to the total where no count is named;
    /// with at least one, the unnamed counts are 0 and the rest completes.
    ///
    /// # Errors
    /// With the flag that is to blame, if there is no such mix.
    pub fn mix(self) -> Result<OutcomeWeights, String> {
        let most = u64::from(limits::ENTRIES_MAX);
        if self.total == 0 || self.total > most {
            return Err(format!("--total is {}, expected 1 to {most}", self.total));
        }
        let named = [
            ("--fail-count", self.fail),
            ("--stuck-count", self.stuck),
            ("--dropped-count", self.dropped),
        ];
        if named.iter().all(|(_, count)| count.is_none()) {
            return Ok(scaled(self.total));
        }
        let sum = named.iter().fold(0_u64, |sum, (_, n)| sum.saturating_add(n.unwrap_or(0)));
        let Some(rest) = self.total.checked_sub(sum) else {
            let said: Vec<String> = named
                .iter()
                .filter_map(|(flag, count)| count.map(|count| format!("{flag} {count}")))
                .collect();
            let plural = if said.len() == 1 { "is" } else { "are together" };
            return Err(format!("{} {plural} more than --total {}", said.join(" + "), self.total));
        };
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(OutcomeWeights {
            completed: small(rest),
            failed: small(self.fail.unwrap_or(0)),
            stuck: small(self.stuck.unwrap_or(0)),
            dropped: small(self.dropped.unwrap_or(0)),
        })
    }
}

/// The default mix scaled to `total` by largest remainder: every share is the exact one rounded up
/// or down, and the shares add up to `total`.
fn scaled(total: u64) -> OutcomeWeights {
    let parts = DEFAULT.pairs().map(|(_, weight)| u64::from(weight));
    let sum = DEFAULT.total();
    let mut shares = parts.map(|part| part * total / sum);
    let left = total - shares.iter().sum::<u64>();
    let mut order = [0, 1, 2, 3];
    // A stable sort: of equal remainders the earlier outcome is served first.
    order.sort_by_key(|&i| std::cmp::Reverse(parts[i] * total % sum));
    for &i in order.iter().take(usize::try_from(left).unwrap_or(0)) {
        shares[i] += 1;
    }
    let [completed, failed, stuck, dropped] = shares.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    OutcomeWeights { completed, failed, stuck, dropped }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(total: u64) -> [u32; 4] {
        scaled(total).pairs().map(|(_, n)| n)
    }

    const NONE: Asked = Asked { total: 149, fail: None, stuck: None, dropped: None };

    #[test]
    fn the_default_mix_is_kept_and_scaled() {
        assert_eq!(counts(149), [24, 100, 15, 10]);
        assert_eq!(counts(298), [48, 200, 30, 20]);
        assert_eq!(counts(1), [0, 1, 0, 0]);
        assert_eq!(counts(10), [1, 7, 1, 1]);
        assert_eq!(counts(20), [3, 14, 2, 1]);
    }

    #[test]
    fn every_scaled_mix_adds_up_and_is_off_by_less_than_one() {
        for total in (1..2_000).chain([999_999, 1_000_000]) {
            let mix = scaled(total);
            assert_eq!(mix.total(), total);
            for ((_, got), (_, weight)) in mix.pairs().into_iter().zip(DEFAULT.pairs()) {
                let (got, exact) = (u64::from(got) * 149, u64::from(weight) * total);
                assert!(got.abs_diff(exact) < 149, "{total}: {mix:?}");
            }
        }
    }

    #[test]
    fn one_named_count_silences_the_default() {
        let mix = Asked { total: 20, fail: Some(5), ..NONE }.mix().expect("a mix");
        assert_eq!(mix.pairs().map(|(_, n)| n), [15, 5, 0, 0]);
        let mix = Asked { total: 4, stuck: Some(4), ..NONE }.mix().expect("a mix");
        assert_eq!(mix.pairs().map(|(_, n)| n), [0, 0, 4, 0]);
        let mix = Asked { dropped: Some(0), ..NONE }.mix().expect("a mix");
        assert_eq!(mix.completed, 149);
    }

    #[test]
    fn an_impossible_mix_names_its_flags() {
        let said = [
            Asked { total: 0, ..NONE },
            Asked { total: 1_000_001, ..NONE },
            Asked { total: 5, fail: Some(6), ..NONE },
            Asked { fail: Some(100), stuck: Some(60), ..NONE },
            Asked { fail: Some(u64::MAX), dropped: Some(u64::MAX), ..NONE },
        ]
        .map(|asked| asked.mix().expect_err("no mix"));
        insta::assert_snapshot!(said.join("\n"), @r"
        --total is 0, expected 1 to 1000000
        --total is 1000001, expected 1 to 1000000
        --fail-count 6 is more than --total 5
        --fail-count 100 + --stuck-count 60 are together more than --total 149
        --fail-count 18446744073709551615 + --dropped-count 18446744073709551615 are together more than --total 149
        ");
    }
}
