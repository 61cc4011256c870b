use std::time::Duration;

/// Wall time under which no guard duration drops, however fast the timeline runs.
///
/// A guard tells a lost counterpart from a slow one, and what makes a counterpart
/// slow (scheduling, disk, other processes) does not get faster with the timeline.
/// Measured: with half a second, two runs at once on two busy cores let guards run out
/// that nobody had missed.
pub const GUARD_FLOOR: Duration = Duration::from_millis(1500);

/// How many product seconds pass in one wall second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeScale {
    factor: u32,
}

impl TimeScale {
    /// Product time is wall time.
    pub const REAL: Self = Self { factor: 1 };
    /// The fastest timeline a run may ask for (`--time-scale max`).
    pub const MAX: Self = Self { factor: 240 };

    /// A scale of 1 to [`TimeScale::MAX`]; `None` outside it.
    pub const fn new(factor: u32) -> Option<Self> {
        if factor >= 1 && factor <= Self::MAX.factor { Some(Self { factor }) } else { None }
    }

    /// Product seconds for each wall second.
    pub const fn factor(self) -> u32 {
        self.factor
    }

    /// Wall time that a story duration takes.
    pub fn story(self, product: Duration) -> Duration {
        product / self.factor
    }

    /// Wall time that a guard duration takes: scaled, but not under [`GUARD_FLOOR`]
    /// (or under the duration itself, where that is shorter still).
    pub fn guard(self, product: Duration) -> Duration {
        self.story(product).max(product.min(GUARD_FLOOR))
    }

    /// A guard duration in product time, to be added to a [`crate::Timestamp`].
    pub fn guard_span(self, product: Duration) -> Duration {
        self.product(self.guard(product))
    }

    /// Product time that passes while `wall` passes.
    pub fn product(self, wall: Duration) -> Duration {
        wall * self.factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_scale_down_to_the_floor_and_no_further() {
        let s = Duration::from_secs;
        assert_eq!(TimeScale::REAL.guard(s(30)), s(30));
        assert_eq!(TimeScale::MAX.guard(s(30)), GUARD_FLOOR);
        assert_eq!(TimeScale::MAX.guard(s(900)), Duration::from_millis(3750));
        assert_eq!(TimeScale::MAX.guard_span(s(30)), s(360));
        assert_eq!(TimeScale::REAL.guard(Duration::from_millis(20)), Duration::from_millis(20));
    }

    #[test]
    fn a_scale_outside_its_range_is_refused() {
        assert_eq!(TimeScale::new(0), None);
        assert_eq!(TimeScale::new(241), None);
        assert_eq!(TimeScale::new(240), Some(TimeScale::MAX));
    }
}
