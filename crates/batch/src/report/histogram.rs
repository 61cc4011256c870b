use dialtone_contract::wire::Percentiles;

/// Parts of each power of two: a value is known to within its 128th.
const PART_BITS: u32 = 7;
const PARTS: usize = 1 << PART_BITS;
/// Buckets for every value of 64 bits.
const BUCKETS: usize = (64 - PART_BITS as usize + 1) * PARTS;

/// Counts of whole numbers, in memory that does not grow with them.
pub(crate) struct Histogram {
    buckets: Vec<u32>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, max: 0 }
    }
}

/// The bucket of a value: itself as long as values are small, then the highest bits.
fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(PART_BITS + 1);
    let part = usize::try_from(value >> shift).expect("at most twice the parts");
    shift as usize * PARTS + part
}

/// The largest value of a bucket.
fn top(bucket: usize) -> u64 {
    if bucket < 2 * PARTS {
        return bucket as u64;
    }
    let (shift, part) = (bucket / PARTS - 1, bucket % PARTS + PARTS);
    (part as u64) << shift | ((1 << shift) - 1)
}

impl Histogram {
    pub(crate) fn add(&mut self, value: u64) {
        let n = &mut self.buckets[bucket(value)];
        *n = n.saturating_add(1);
        self.count += 1;
        self.max = self.max.max(value);
    }

    /// The smallest value that so many thousandths of all values are at most.
    fn quantile(&self, thousandths: u64) -> u64 {
        let rank = (self.count * thousandths).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, n) in self.buckets.iter().enumerate() {
            seen += u64::from(*n);
            if seen >= rank {
                return top(bucket).min(self.max);
            }
        }
        self.max
    }

    /// The percentiles of values in microseconds, as milliseconds.
    pub(crate) fn percentiles(&self) -> Percentiles {
        if self.count == 0 {
            return Percentiles::default();
        }
        #[expect(clippy::cast_precision_loss, reason = "no call lasts centuries")]
        let ms = |micros: u64| micros as f64 / 1000.0;
        let at = |thousandths| ms(self.quantile(thousandths));
        Percentiles {
            count: self.count,
            p50: at(500),
            p75: at(750),
            p90: at(900),
            p95: at(950),
            p99: at(990),
            max: ms(self.max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_bucket() {
        for value in (0..5000).chain([u64::MAX, u64::MAX / 2, 1 << 40]) {
            let bucket = bucket(value);
            assert!(bucket < BUCKETS, "{value}");
            assert!(value <= top(bucket) && top(bucket) - value <= value / PARTS as u64, "{value}");
            assert!(bucket == 0 || top(bucket - 1) < value, "{value}");
        }
    }

    #[test]
    fn percentiles_are_within_a_hundredth() {
        let mut values = Histogram::default();
        (1..=1000).rev().for_each(|ms| values.add(ms * 1000));
        let found = values.percentiles();
        let exact = [500.0, 750.0, 900.0, 950.0, 990.0];
        for (found, exact) in
            [found.p50, found.p75, found.p90, found.p95, found.p99].into_iter().zip(exact)
        {
            assert!((exact..exact * 1.01).contains(&found), "{found} for {exact}");
        }
        assert_eq!((found.count, found.max.to_bits()), (1000, 1000_f64.to_bits()));
        assert_eq!(Histogram::default().percentiles(), Percentiles::default());
    }
}
