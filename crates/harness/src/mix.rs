//! How many calls of a test batch shall end how.

use dialtone_contract::{OutcomeWeights, ScriptedFaults, TestMix, limits};

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
    /// `--faults`.
    pub faults: Share,
}

/// A share of a batch, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// The whole, in millionths.
    const WHOLE: u32 = 1_000_000;

    /// Reads `1%`, `0.5%` or `1`: percent either way, with up to four places.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        let (whole, places) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(places) || places.len() > 4 {
            return None;
        }
        let millionths = format!("{whole}{places:0<4}").parse().ok()?;
        (millionths <= Self::WHOLE).then_some(Self(millionths))
    }

    /// Whether it is nothing.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// That share of `total`, rounded; at least one of something.
    fn of(self, total: u64) -> u64 {
        if self.is_none() {
            return 0;
        }
        let whole = u64::from(Self::WHOLE);
        ((total * u64::from(self.0) + whole / 2) / whole).max(1)
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, places) = (self.0 / 10_000, self.0 % 10_000);
        if places == 0 {
            return write!(f, "{whole}%");
        }
        let places = format!("{places:04}");
        write!(f, "{whole}.{}%", places.trim_end_matches('0'))
    }
}

impl Asked {
    /// The mix that was asked for: the default one scaled to the total where no count is named;
    /// with at least one, the unnamed counts are 0 and the rest completes. The faults are a share
    /// of the total, and the rest is mixed as if it was all.
    ///
    /// # Errors
    /// With the flag that is to blame, if there is no such mix.
    pub fn mix(self) -> Result<TestMix, String> {
        let most = u64::from(limits::ENTRIES_MAX);
        if self.total == 0 || self.total > most {
            return Err(format!("--total is {}, expected 1 to {most}", self.total));
        }
        let each = self.faults.of(self.total);
        let faults = ScriptedFaults::each(small(each));
        let Some(usual) = self.total.checked_sub(faults.total()) else {
            let (share, kinds) = (self.faults, faults.pairs().len());
            return Err(format!(
                "--faults {share} is {kinds} times {each}, more than --total {}",
                self.total
            ));
        };
        let named = [
            ("--fail-count", self.fail),
            ("--stuck-count", self.stuck),
            ("--dropped-count", self.dropped),
        ];
        if named.iter().all(|(_, count)| count.is_none()) {
            return Ok(TestMix { weights: scaled(usual), faults });
        }
        let sum = named.iter().fold(0_u64, |sum, (_, n)| sum.saturating_add(n.unwrap_or(0)));
        let Some(rest) = usual.checked_sub(sum) else {
            let said: Vec<String> = named
                .iter()
                .filter_map(|(flag, count)| count.map(|count| format!("{flag} {count}")))
                .collect();
            let plural = if said.len() == 1 { "is" } else { "are together" };
            let total = self.total;
            let of = match faults.total() {
                0 => format!("--total {total}"),
                n => format!("the {usual} of --total {total} that {n} faults leave"),
            };
            return Err(format!("{} {plural} more than {of}", said.join(" + ")));
        };
        let weights = OutcomeWeights {
            completed: small(rest),
            failed: small(self.fail.unwrap_or(0)),
            stuck: small(self.stuck.unwrap_or(0)),
            dropped: small(self.dropped.unwrap_or(0)),
        };
        Ok(TestMix { weights, faults })
    }
}

fn small(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
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
    let [completed, failed, stuck, dropped] = shares.map(small);
    OutcomeWeights { completed, failed, stuck, dropped }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(total: u64) -> [u32; 4] {
        scaled(total).pairs().map(|(_, n)| n)
    }

    const NONE: Asked =
        Asked { total: 149, fail: None, stuck: None, dropped: None, faults: Share(0) };

    fn percent(text: &str) -> Share {
        Share::parse(text).expect("a share")
    }

    #[test]
    fn a_share_is_percent_and_read_back_as_it_is_told() {
        for text in ["1%", "0.5%", "0.0001%", "100%", "16.6%", "0%"] {
            assert_eq!(percent(text).to_string(), text);
        }
        assert_eq!((percent("1"), percent("0.50")), (percent("1%"), percent("0.5%")));
        for bad in ["", "%", "-1%", "101%", "1.00001%", "1e1%", "one", "1%%", ".5%", "+1"] {
            assert_eq!(Share::parse(bad), None, "{bad} was read");
        }
    }

    #[test]
    fn faults_are_a_share_of_the_total_and_the_rest_is_mixed() {
        let mix = Asked { total: 10_000, faults: percent("1%"), ..NONE }.mix().expect("a mix");
        assert_eq!(mix.faults, ScriptedFaults::each(100));
        assert_eq!((mix.total(), mix.weights), (10_000, scaled(9_400)));
        // A little is at least one of each.
        let mix = Asked { total: 20, faults: percent("0.1%"), fail: Some(4), ..NONE }.mix();
        let mix = mix.expect("a mix");
        assert_eq!(mix.faults, ScriptedFaults::each(1));
        assert_eq!((mix.weights.completed, mix.weights.failed), (10, 4));
        assert_eq!(NONE.mix().expect("a mix").faults, ScriptedFaults::default());
    }

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
        assert_eq!(mix.weights.pairs().map(|(_, n)| n), [15, 5, 0, 0]);
        let mix = Asked { total: 4, stuck: Some(4), ..NONE }.mix().expect("a mix");
        assert_eq!(mix.weights.pairs().map(|(_, n)| n), [0, 0, 4, 0]);
        let mix = Asked { dropped: Some(0), ..NONE }.mix().expect("a mix");
        assert_eq!(mix.weights.completed, 149);
    }

    #[test]
    fn an_impossible_mix_names_its_flags() {
        let said = [
            Asked { total: 0, ..NONE },
            Asked { total: 1_000_001, ..NONE },
            Asked { total: 5, fail: Some(6), ..NONE },
            Asked { fail: Some(100), stuck: Some(60), ..NONE },
            Asked { fail: Some(u64::MAX), dropped: Some(u64::MAX), ..NONE },
            Asked { total: 5, faults: percent("1%"), ..NONE },
            Asked { total: 10, fail: Some(5), faults: percent("1%"), ..NONE },
        ]
        .map(|asked| asked.mix().expect_err("no mix"));
        insta::assert_snapshot!(said.join("\n"), @r"
        --total is 0, expected 1 to 1000000
        --total is 1000001, expected 1 to 1000000
        --fail-count 6 is more than --total 5
        --fail-count 100 + --stuck-count 60 are together more than --total 149
        --fail-count 18446744073709551615 + --dropped-count 18446744073709551615 are together more than --total 149
        --faults 1% is 6 times 1, more than --total 5
        --fail-count 5 is more than the 4 of --total 10 that 6 faults leave
        ");
    }
}
