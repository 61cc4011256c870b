use std::time::Duration;

use dialtone_clock::{Timestamp, rng_for};
use dialtone_contract::Outcome;
use dialtone_contract::wire::{BatchOptions, BreakerRule, CallWindow, RetryRule};
use rand::Rng as _;

use crate::clock::SimClock;

/// Zones of a simulated live batch's recipients. In the first two it is the same hour.
pub const ZONES: [&str; 4] = ["Europe/Berlin", "Africa/Lagos", "America/New_York", "Asia/Kolkata"];

/// A window that is closed for some minutes soon after the start, in zones where it is
/// nine then, and open for the rest of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Minutes after the start at which it closes.
    pub from_min: u32,
    /// Minutes for which it is closed.
    pub lasts_min: u32,
    /// Whether each recipient has it in his own zone; else all have it in the first.
    pub by_recipient: bool,
}

impl Gap {
    fn window(self) -> CallWindow {
        let time = |minutes: u32| {
            // The start of the simulation, as the first two zones see it.
            let minutes = 9 * 60 + minutes;
            format!("{:02}:{:02}", minutes / 60, minutes % 60).parse().expect("within the day")
        };
        let tz = if self.by_recipient { CallWindow::RECIPIENT } else { ZONES[0] };
        CallWindow {
            tz: tz.to_owned(),
            days: dialtone_contract::wire::Weekday::ALL.to_vec(),
            start: time(self.from_min + self.lasts_min),
            end: time(self.from_min),
        }
    }

    /// Whether a call to a recipient in `zone` must not begin at `now`: reckoned without
    /// any time zone, which is what is tested.
    pub fn is_closed(self, zone: Option<&str>, now: Timestamp) -> bool {
        let minutes = |n: u32| Duration::from_secs(u64::from(n) * 60);
        let of_day = now.since(SimClock::START).as_secs() % (24 * 3600);
        let (from, lasts) = (minutes(self.from_min).as_secs(), minutes(self.lasts_min).as_secs());
        let concerned = !self.by_recipient || zone.is_some_and(|zone| ZONES[..2].contains(&zone));
        concerned && (from..from + lasts).contains(&of_day)
    }
}

/// Options of the batch beyond its plan, as the seed draws them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Policy {
    /// Whether the batch is stored as a live one, with numbers that stand in it twice.
    pub live: bool,
    /// Calls per second.
    pub calls_per_second: Option<f64>,
    /// Seconds in which the rate grows.
    pub ramp_s: u32,
    /// Entries in a wave, 0 for none.
    pub wave_size: u32,
    /// When calls may not begin.
    pub gap: Option<Gap>,
    /// Seconds of the first wait, where retries have rules of their own.
    pub retry_base_s: Option<u32>,
    /// Seconds for which a number is left alone.
    pub min_gap_s: u32,
    /// Whether the batch has a breaker.
    pub breaker: bool,
    /// Entries whose numbers are suppressed in the course of the batch.
    pub suppressed: u32,
}

impl Policy {
    /// Options that the seed draws, each in some of the seeds: options that always come
    /// together hide each other.
    pub fn swarm(seed: u64) -> Self {
        let mut rng = rng_for(seed, &[b"policy"]);
        let mut below = |n: u32| rng.next_u32() % n;
        let live = below(2) == 0;
        let calls_per_second = (below(3) == 0).then(|| [0.1, 0.5, 2.0][below(3) as usize]);
        let ramp_s = if calls_per_second.is_some() && below(2) == 0 { 60 } else { 0 };
        let gap = (below(3) == 0).then(|| Gap {
            from_min: 1 + below(3),
            lasts_min: 2 + below(8),
            by_recipient: live && below(3) > 0,
        });
        Self {
            live,
            calls_per_second,
            ramp_s,
            wave_size: if calls_per_second.is_none() && below(4) == 0 { 2 + below(6) } else { 0 },
            gap,
            retry_base_s: (below(2) == 0).then(|| 20 + below(100)),
            min_gap_s: if below(3) == 0 { 30 + below(200) } else { 0 },
            breaker: below(4) == 0,
            suppressed: if below(2) == 0 { 1 + below(4) } else { 0 },
        }
    }

    /// The rule for retries after `outcome`.
    pub fn retry_rule(&self, outcome: Outcome) -> RetryRule {
        match (self.retry_base_s, outcome) {
            (Some(base_s), Outcome::DispatchFailed | Outcome::TimeoutUnclaimed) => {
                RetryRule { max: None, base_s, factor: 1.5, cap_s: base_s * 2, jitter: 0.2 }
            }
            _ => RetryRule::default(),
        }
    }

    /// The batch's breaker.
    pub fn breaker_rule(&self) -> Option<BreakerRule> {
        self.breaker.then(|| BreakerRule {
            window_s: 300,
            min_attempts: 5,
            failure_rate: 0.6,
            resume_after_s: 120,
            ..BreakerRule::default()
        })
    }

    /// Completes the options with what has been drawn.
    pub fn complete(&self, options: BatchOptions) -> BatchOptions {
        let ruled = [Outcome::DispatchFailed, Outcome::TimeoutUnclaimed];
        let rules = ruled.map(|outcome| (outcome, self.retry_rule(outcome)));
        BatchOptions {
            calls_per_second: self.calls_per_second,
            ramp_s: self.ramp_s,
            wave_size: self.wave_size,
            retry: rules.into_iter().filter(|_| self.retry_base_s.is_some()).collect(),
            min_gap_s: self.min_gap_s,
            // Only people have time zones: a window by recipient is put in as a live
            // batch's intake would do it.
            window: self.gap.filter(|gap| !gap.by_recipient).map(Gap::window),
            breaker: self.breaker_rule(),
            ..options
        }
    }

    /// The window by recipient, if there is one.
    pub fn window_by_recipient(&self) -> Option<CallWindow> {
        self.gap.filter(|gap| gap.by_recipient).map(Gap::window)
    }
}
