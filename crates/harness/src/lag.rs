//! Whether the machine was fast enough for the run to mean anything.

use std::collections::BTreeMap;

use dialtone_contract::{ErrorCode, limits};

use crate::failure::Failure;

/// The name under which the harness notes its own lag.
pub const HARNESS: &str = "the harness";

/// The largest loop lag seen of each process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LagBook(BTreeMap<String, f64>);

impl LagBook {
    /// Notes what a process says, in milliseconds.
    pub fn note(&mut self, process: &str, lag_ms: f64) {
        if !lag_ms.is_finite() {
            return;
        }
        let known = self.0.entry(process.to_owned()).or_default();
        *known = known.max(lag_ms);
    }

    /// The largest lag of all.
    pub fn max_ms(&self) -> f64 {
        self.0.values().copied().fold(0.0, f64::max)
    }

    /// The lags of the services, the harness's own aside.
    pub fn services(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().filter(|(name, _)| *name != HARNESS).map(|(name, ms)| (name.as_str(), *ms))
    }

    /// The failure, if any process lagged more than [`limits::LOOP_LAG_MAX`]: at scaled time such a
    /// process lets deadlines pass that nobody missed.
    pub fn too_slow(&self) -> Option<Failure> {
        let limit = limits::LOOP_LAG_MAX.as_secs_f64() * 1e3;
        let mut over: Vec<(&String, f64)> =
            self.0.iter().filter(|(_, ms)| **ms > limit).map(|(name, ms)| (name, *ms)).collect();
        over.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (name, worst) = over.first()?;
        let message =
            format!("{name} lagged {worst:.0} ms; a run means nothing above {limit:.0} ms");
        let evidence = over.iter().map(|(name, ms)| format!("{name}: loop lag up to {ms:.0} ms"));
        Some(Failure::new(ErrorCode::MachineTooSlow, message).evidence(evidence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_itself_is_fast_enough() {
        let mut book = LagBook::default();
        book.note("dialtone", 250.0);
        book.note("harness", 12.0);
        book.note("harness", f64::NAN);
        assert_eq!(book.too_slow(), None);
        assert!((book.max_ms() - 250.0).abs() < f64::EPSILON);
    }

    #[test]
    fn one_slow_process_is_named_with_its_lag() {
        let mut book = LagBook::default();
        book.note("harness", 251.0);
        book.note("dialtone", 612.0);
        book.note("dialtone", 3.0);
        book.note("test-worker", 9.0);
        let failure = book.too_slow().expect("too slow");
        assert_eq!(failure.exit.code(), 5);
        assert_eq!(failure.message, "dialtone lagged 612 ms; a run means nothing above 250 ms");
        assert_eq!(failure.evidence.len(), 2);
    }
}
