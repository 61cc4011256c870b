//! Pacing: how many calls may begin now, and when the next one may.
//!
//! A batch has earned so many calls at a moment as the rate has given it since it started
//! (while the rate grows, less). `paced_at`, which is kept with the batch, is the moment at
//! which it will have earned all calls that it has begun; until then it begins none, but for
//! a small slack without which a dispatcher that looks a little late would never reach the
//! rate. What was not used in time is lost: a batch that rested does not catch up.

use std::time::Duration;

use dialtone_clock::{TimeScale, Timestamp};
use dialtone_store::Pace;

/// Wall time by which a call may begin early: a few turns of the dispatcher's loop.
const SLACK: Duration = Duration::from_millis(20);

/// A batch's rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    per_s: f64,
    ramp_s: f64,
    start: Timestamp,
    slack: Duration,
}

/// Calls that may begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// How many at most; 0 before the next one's time.
    pub calls: u32,
    /// What the claim that begins them compares and swaps.
    pub pace: Pace,
}

impl Rate {
    /// A rate of `per_s` calls per product second, grown to evenly over `ramp_s` from
    /// `start` on.
    pub fn new(scale: TimeScale, per_s: f64, ramp_s: u32, start: Timestamp) -> Self {
        Self { per_s, ramp_s: f64::from(ramp_s), start, slack: scale.product(SLACK) }
    }

    /// Calls earned from the start until `at`.
    pub fn earned(&self, at: Timestamp) -> f64 {
        let s = at.since(self.start).as_secs_f64();
        if s < self.ramp_s {
            self.per_s * s * s / (2.0 * self.ramp_s)
        } else {
            self.per_s * (s - self.ramp_s / 2.0)
        }
    }

    /// Seconds after the start at which so many calls have been earned.
    fn when_s(&self, calls: f64) -> f64 {
        let in_ramp = self.per_s * self.ramp_s / 2.0;
        if calls < in_ramp {
            (2.0 * self.ramp_s * calls / self.per_s).sqrt()
        } else {
            (calls / self.per_s) + self.ramp_s / 2.0
        }
    }

    /// Calls per second so many seconds after the start.
    fn at_s(&self, s: f64) -> f64 {
        if s < self.ramp_s { self.per_s * s / self.ramp_s } else { self.per_s }
    }

    /// How many of `wanted` calls may begin at `now`.
    pub fn allowed(&self, paced_at: Option<Timestamp>, now: Timestamp, wanted: u32) -> Allowed {
        let begun = paced_at.map_or(0.0, |at| self.earned(at)).max(self.earned(now));
        let room = self.earned(now + self.slack) - begun;
        let calls = if now < self.next(paced_at) {
            0
        } else {
            // `as` saturates; a room below 0 is an error of rounding.
            (room.max(0.0) as u32).saturating_add(1).min(wanted)
        };
        // The moments at which call after call will have been earned lie below the line
        // through the first, so that a claim which gets fewer calls than it may is paced
        // for those that it got.
        let first_s = self.when_s(begun + 1.0);
        let each_s = 1.0 / self.at_s(first_s);
        let micros = |s: f64| (s * 1e6).ceil() as i64;
        let from = self.start.as_micros().saturating_add(micros(first_s) - micros(each_s));
        let pace =
            Pace { seen: paced_at, from: Timestamp::from_micros(from), each_us: micros(each_s) };
        Allowed { calls, pace }
    }

    /// When the next call may begin.
    pub fn next(&self, paced_at: Option<Timestamp>) -> Timestamp {
        paced_at.map_or(self.start, |at| at - self.slack)
    }

    /// Calls that may begin from `from` to `to`, both included, at most.
    pub fn most(&self, from: Timestamp, to: Timestamp) -> f64 {
        1.0 + self.earned(to + self.slack) - self.earned(from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn s(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// Claims everything as soon as it may, and gives the moments of the calls.
    fn claim_all(rate: &Rate, until: Timestamp) -> Vec<Timestamp> {
        let (mut now, mut paced_at, mut calls) = (START, None, Vec::new());
        while now < until {
            let allowed = rate.allowed(paced_at, now, u32::MAX);
            assert!(allowed.calls > 0, "nothing at {now}, when something was to be");
            calls.extend(std::iter::repeat_n(now, allowed.calls as usize));
            paced_at = Some(allowed.pace.after(allowed.calls));
            now = rate.next(paced_at).max(now + Duration::from_micros(1));
        }
        calls
    }

    #[test]
    fn a_steady_rate_is_reached_and_kept() {
        for per_s in [0.01, 0.5, 3.0, 50.0, 2_000.0] {
            let rate = Rate::new(TimeScale::REAL, per_s, 0, START);
            let seconds = (20.0 / per_s).max(5.0);
            let calls = claim_all(&rate, START + s(seconds)).len() as f64;
            let expected = per_s * (seconds + 0.02) + 1.0;
            assert!((calls - expected).abs() <= 1.0 + expected * 0.01, "{per_s}/s: {calls}");
        }
    }

    #[test]
    fn the_ramp_grows_evenly() {
        let rate = Rate::new(TimeScale::REAL, 10.0, 60, START);
        let calls = claim_all(&rate, START + s(120.0));
        let within = |from: f64, to: f64| {
            calls.iter().filter(|at| (START + s(from)..START + s(to)).contains(at)).count()
        };
        // A quarter of the ramp's 300 calls comes in its first half.
        assert!((70..=80).contains(&within(0.0, 30.0)), "{}", within(0.0, 30.0));
        assert!((215..=235).contains(&within(30.0, 60.0)), "{}", within(30.0, 60.0));
        assert!((590..=610).contains(&within(60.0, 120.0)), "{}", within(60.0, 120.0));
    }

    #[test]
    fn what_was_not_used_is_lost() {
        let rate = Rate::new(TimeScale::REAL, 10.0, 0, START);
        let later = START + s(3600.0);
        assert_eq!(rate.allowed(Some(START), later, 500).calls, 1);
    }

    #[test]
    fn the_first_call_begins_at_once_and_the_second_waits() {
        for ramp_s in [0, 100] {
            let rate = Rate::new(TimeScale::REAL, 1.0, ramp_s, START);
            let first = rate.allowed(None, START, 500);
            assert_eq!(first.calls, 1);
            let paced_at = Some(first.pace.after(1));
            let soon = START + s(0.9);
            assert_eq!(rate.allowed(paced_at, soon, 500).calls, 0);
            assert!(rate.next(paced_at) > soon);
        }
    }

    proptest! {
        #[test]
        fn no_span_has_more_calls_than_the_rate_allows(
            per_s in 0.01..5_000.0, ramp_s in 0..600_u32, factor in 1..=240_u32,
            steps in proptest::collection::vec((0.0..1.0_f64, 1..=16_u32, 0.0..=1.0_f64), 1..200),
        ) {
            let scale = TimeScale::new(factor).expect("in range");
            let rate = Rate::new(scale, per_s, ramp_s, START);
            let (mut now, mut paced_at, mut calls) = (START, None, Vec::new());
            for (late, wanted, share) in steps {
                let next = rate.next(paced_at).max(now);
                // Sometimes before its time, sometimes long after it.
                now = now + next.since(now).mul_f64(if late < 0.1 { 0.5 } else { 1.0 }) + s(late * late * 60.0 / per_s);
                let allowed = rate.allowed(paced_at, now, wanted);
                prop_assert!(allowed.calls <= wanted);
                prop_assert_eq!(allowed.calls > 0, now >= rate.next(paced_at));
                let got = (f64::from(allowed.calls) * share).round() as u32;
                if got > 0 {
                    let after = allowed.pace.after(got);
                    prop_assert!(paced_at.is_none_or(|before| before < after));
                    paced_at = Some(after);
                    calls.extend(std::iter::repeat_n(now, got as usize));
                }
            }
            for (n, from) in calls.iter().enumerate() {
                for (m, to) in calls.iter().enumerate().skip(n) {
                    let most = rate.most(*from, *to);
                    prop_assert!((m - n + 1) as f64 <= most + 0.01, "{} calls, {most} allowed", m - n + 1);
                }
            }
        }
    }
}
