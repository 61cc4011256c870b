use rand::Rng as _;
use serde::{Deserialize, Serialize};

/// The quantiles that are told.
const SHARES: [f64; 4] = [0.5, 0.9, 0.95, 0.99];
/// Part of the bootstrap's results that the interval holds.
const INTERVAL: f64 = 0.95;
/// Fewer values tell nothing about how sure their quantiles are.
const TELLING: usize = 5;
/// With so many groups they are what is drawn, since what is in one of them is alike.
const GROUPS: usize = 8;
/// Values that are drawn in all, which bounds the time, and draws at least and at most.
const DRAWN: usize = 20_000_000;
const DRAWS: (usize, usize) = (200, 2_000);
/// Everyone gets the same interval for the same values.
const SEED: u64 = 0;

/// A quantile, and between what it lies with a probability of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    /// Which one, from 0 to 1.
    pub share: f64,
    /// Its value.
    pub value: f64,
    /// The interval, by the bootstrap; none for too few values.
    pub interval: Option<(f64, f64)>,
}

/// Many values in a few figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// How many they are.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The 50th, 90th, 95th and 99th percentile.
    pub quantiles: [Quantile; 4],
}

impl Distribution {
    /// Of values that come in groups, such as the turns of each call. `None` of nothing.
    pub fn of(groups: &[Vec<f64>]) -> Option<Self> {
        let sorted = Sorted::of(groups);
        let (min, max) = (sorted.values.first()?.0, sorted.values.last()?.0);
        let n = sorted.values.len();
        let mean = sorted.values.iter().map(|(value, _)| value).sum::<f64>() / n as f64;
        let intervals = sorted.intervals();
        let quantiles = std::array::from_fn(|k| Quantile {
            share: SHARES[k],
            value: sorted.quantile(SHARES[k]),
            interval: intervals.map(|intervals| intervals[k]),
        });
        Some(Self { n, mean, min, max, quantiles })
    }

    /// Any quantile of such values, between its neighbours.
    pub fn quantile_of(groups: &[Vec<f64>], share: f64) -> Option<f64> {
        let sorted = Sorted::of(groups);
        (!sorted.values.is_empty()).then(|| sorted.quantile(share))
    }

    /// The median.
    pub fn p50(&self) -> f64 {
        self.quantiles[0].value
    }

    /// The 95th percentile.
    pub fn p95(&self) -> f64 {
        self.quantiles[2].value
    }
}

/// Values in order, each with its group.
struct Sorted {
    values: Vec<(f64, usize)>,
    groups: usize,
}

impl Sorted {
    fn of(groups: &[Vec<f64>]) -> Self {
        let filled = groups.iter().filter(|group| !group.is_empty());
        let mut values: Vec<(f64, usize)> = filled
            .clone()
            .enumerate()
            .flat_map(|(n, group)| group.iter().map(move |value| (*value, n)))
            .collect();
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { values, groups: filled.count() }
    }

    fn quantile(&self, share: f64) -> f64 {
        let at = share.clamp(0.0, 1.0) * (self.values.len() - 1) as f64;
        let (low, high) = (self.values[at.floor() as usize].0, self.values[at.ceil() as usize].0);
        low + (high - low) * at.fract()
    }

    /// Draws as many again, with replacement, many times over; how far the quantiles scatter.
    fn intervals(&self) -> Option<[(f64, f64); SHARES.len()]> {
        let n = self.values.len();
        if n < TELLING {
            return None;
        }
        let grouped = self.groups >= GROUPS;
        let drawn = if grouped { self.groups } else { n };
        let draws = (DRAWN / n).clamp(DRAWS.0, DRAWS.1);
        let mut rng = dialtone_clock::rng_for(SEED, &[b"bootstrap"]);
        let mut results: [Vec<f64>; SHARES.len()] = Default::default();
        let mut times = vec![0_u32; drawn];
        for _ in 0..draws {
            times.fill(0);
            for _ in 0..drawn {
                // The bias of a remainder of 64 bits is far below what matters here.
                let which = (rng.next_u64() % drawn as u64) as usize;
                times[which] += 1;
            }
            let weight = |at: usize| times[if grouped { self.values[at].1 } else { at }];
            let all: u32 = (0..n).map(weight).sum();
            for (result, share) in results.iter_mut().zip(SHARES) {
                let rank = (share * f64::from(all)).ceil().max(1.0) as u32;
                let mut seen = 0;
                let at = (0..n).find(|at| {
                    seen += weight(*at);
                    seen >= rank
                });
                result.extend(at.map(|at| self.values[at].0));
            }
        }
        Some(results.map(|mut result| {
            result.sort_by(f64::total_cmp);
            let place = |share: f64| ((result.len().max(1) - 1) as f64 * share).round() as usize;
            let tail = (1.0 - INTERVAL) / 2.0;
            let at = |share| result.get(place(share)).copied().unwrap_or(f64::NAN);
            (at(tail), at(1.0 - tail))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        let found = Distribution::of(&[(1..=101).map(f64::from).collect()]).expect("values");
        assert_eq!((found.n, found.mean, found.min, found.max), (101, 51.0, 1.0, 101.0));
        let values = found.quantiles.map(|quantile| quantile.value);
        assert_eq!(values, [51.0, 91.0, 96.0, 100.0]);
        assert_eq!(Distribution::of(&[vec![], vec![]]), None);
        assert_eq!(Distribution::quantile_of(&[vec![1.0], vec![3.0]], 0.5), Some(2.0));
    }

    #[test]
    fn the_interval_holds_what_the_values_are_from() {
        // Of 400 samples in which everything from 0 to 1 is as likely, 95 in 100 intervals hold
        // the true median; of 200 such samples hardly fewer than 180.
        let mut rng = dialtone_clock::rng_for(7, &[b"test"]);
        let mut held = 0;
        for _ in 0..200 {
            let values = (0..80).map(|_| (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64);
            let found = Distribution::of(&[values.collect()]).expect("values");
            let (low, high) = found.quantiles[0].interval.expect("an interval");
            held += u32::from(low <= 0.5 && 0.5 <= high);
        }
        assert!((180..200).contains(&held), "{held} of 200");
    }

    #[test]
    fn turns_of_one_call_are_no_independent_values() {
        // Ten calls, all of whose turns are alike: a hundred values tell no more than ten.
        let alike: Vec<Vec<f64>> = (0..10).map(|call| vec![f64::from(call); 10]).collect();
        let mixed = vec![alike.concat()];
        let width = |groups: &[Vec<f64>]| {
            let found = Distribution::of(groups).expect("values");
            let (low, high) = found.quantiles[0].interval.expect("an interval");
            high - low
        };
        assert!(width(&alike) > 2.0 * width(&mixed), "{} {}", width(&alike), width(&mixed));
        assert_eq!(Distribution::of(&[vec![1.0; 4]]).map(|d| d.quantiles[0].interval), Some(None));
    }
}
