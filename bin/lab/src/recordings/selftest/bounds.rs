use dialtone_recordings::truth::Score;

/// What to do where a bound is crossed.
pub const HINT: &str =
    "look at the table for the condition that is off; parameters are tuned with --half tuning only";

/// Scores added up.
#[derive(Debug, Default)]
pub struct Pools {
    /// All conditions.
    pub all: Score,
    /// Those of an ordinary telephone call.
    pub telephone: Score,
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    All,
    Telephone,
}

impl Pool {
    /// Its name in checks.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Telephone => "telephone",
        }
    }
}

/// What must hold.
#[derive(Clone, Copy)]
pub enum Limit {
    /// The magnitude is at most so much, and the goal is that much.
    Most(f64, f64),
    /// It is at least so much, and the goal is that much.
    Least(f64, f64),
}

/// A figure and its bound.
pub struct Bound {
    pool: Pool,
    name: &'static str,
    unit: &'static str,
    limit: Limit,
    of: fn(&Score) -> Option<f64>,
}

impl Bound {
    const fn new(
        pool: Pool,
        name: &'static str,
        unit: &'static str,
        limit: Limit,
        of: fn(&Score) -> Option<f64>,
    ) -> Self {
        Self { pool, name, unit, limit, of }
    }

    /// Whether the faster gates must keep to it too: they do as well on ordinary calls, and are
    /// fooled on others.
    pub fn is_for_every_gate(&self) -> bool {
        self.pool == Pool::Telephone
    }

    /// The check's name, whether it holds, and what was seen. What cannot be told does not hold.
    pub fn judge(&self, pools: &Pools) -> (String, bool, String) {
        let score = match self.pool {
            Pool::All => &pools.all,
            Pool::Telephone => &pools.telephone,
        };
        let name = format!("{}_{}", self.pool.name(), self.name);
        let unit = self.unit;
        let (word, bound, goal) = match self.limit {
            Limit::Most(most, goal) => ("at most", most, goal),
            Limit::Least(least, goal) => ("at least", least, goal),
        };
        let wanted = format!("{word} {bound} {unit}, goal {goal}");
        let Some(seen) = (self.of)(score) else {
            return (name, false, format!("nothing to measure; {wanted}"));
        };
        let holds = |bound: f64| match self.limit {
            Limit::Most(..) => seen.abs() <= bound,
            Limit::Least(..) => seen >= bound,
        };
        let reached = if holds(goal) { ", goal reached" } else { "" };
        (name, holds(bound), format!("{seen:.1} {unit} ({wanted}{reached})"))
    }
}

/// Of calls made from the synthesiser's voices.
pub const MADE: &[Bound] = &[
    Bound::new(Pool::Telephone, "missed", "%", Limit::Most(1.5, 1.0), Score::missed_percent),
    Bound::new(Pool::Telephone, "false", "%", Limit::Most(3.0, 2.0), Score::false_percent),
    Bound::new(Pool::Telephone, "bias", "ms", Limit::Most(8.0, 5.0), Score::bias_ms),
    Bound::new(Pool::Telephone, "mae", "ms", Limit::Most(25.0, 15.0), Score::mae_ms),
    Bound::new(Pool::Telephone, "p95_error", "ms", Limit::Most(110.0, 75.0), Score::p95_error_ms),
    Bound::new(Pool::Telephone, "p50_off", "%", Limit::Most(3.0, 2.0), p50_off),
    Bound::new(Pool::Telephone, "p95_off", "%", Limit::Most(3.0, 2.0), p95_off),
    Bound::new(Pool::All, "missed", "%", Limit::Most(1.5, 1.0), Score::missed_percent),
    Bound::new(Pool::All, "false", "%", Limit::Most(4.0, 3.0), Score::false_percent),
    Bound::new(Pool::All, "mae", "ms", Limit::Most(60.0, 50.0), Score::mae_ms),
    Bound::new(Pool::All, "barge_in_recall", "%", Limit::Least(90.0, 95.0), barge_in_recall),
    Bound::new(Pool::All, "barge_in_precision", "%", Limit::Least(90.0, 95.0), barge_in_precision),
];

/// Of calls made from prompts that people spoke: their words end more softly, and the prompts have
/// noise of their own.
pub const PEOPLE: &[Bound] = &[
    Bound::new(Pool::Telephone, "missed", "%", Limit::Most(2.0, 1.0), Score::missed_percent),
    Bound::new(Pool::Telephone, "false", "%", Limit::Most(3.0, 2.0), Score::false_percent),
    Bound::new(Pool::Telephone, "bias", "ms", Limit::Most(20.0, 10.0), Score::bias_ms),
    Bound::new(Pool::Telephone, "mae", "ms", Limit::Most(30.0, 20.0), Score::mae_ms),
    Bound::new(Pool::Telephone, "p95_error", "ms", Limit::Most(150.0, 100.0), Score::p95_error_ms),
    Bound::new(Pool::Telephone, "p50_off", "%", Limit::Most(4.0, 2.0), p50_off),
    Bound::new(Pool::Telephone, "p95_off", "%", Limit::Most(4.0, 2.0), p95_off),
];

fn p50_off(score: &Score) -> Option<f64> {
    score.off_percent(0.5)
}

fn p95_off(score: &Score) -> Option<f64> {
    score.off_percent(0.95)
}

fn barge_in_recall(score: &Score) -> Option<f64> {
    score.barge_ins.recall()
}

fn barge_in_precision(score: &Score) -> Option<f64> {
    score.barge_ins.precision()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_holds_up_to_its_value_and_never_for_nothing() {
        let bound = Bound::new(Pool::All, "bias", "ms", Limit::Most(8.0, 5.0), Score::bias_ms);
        let pools = |errors_ms: Vec<f64>| Pools {
            all: Score { errors_ms, ..Score::default() },
            ..Pools::default()
        };
        for (errors, holds) in
            [(vec![8.0], true), (vec![-8.0], true), (vec![-8.2], false), (vec![], false)]
        {
            let (name, passed, detail) = bound.judge(&pools(errors.clone()));
            assert_eq!((name.as_str(), passed), ("all_bias", holds), "{errors:?}: {detail}");
        }
        let (_, _, detail) = bound.judge(&pools(vec![4.0]));
        assert_eq!(detail, "4.0 ms (at most 8 ms, goal 5, goal reached)");
    }
}
