use std::fmt;
use std::str::FromStr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::{Clock, TimeScale, Timestamp};

/// Environment variable that puts a process on the run's shared timeline:
/// `FACTOR@ORIGIN_MICROS`. Unset means real time.
pub const TIMELINE_ENV: &str = "DIALTONE_TIMELINE";

/// One timeline for all processes of a run: product time equals wall time at
/// `origin` and runs `scale` times as fast from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Speed of the timeline.
    pub scale: TimeScale,
    /// Wall and product time at which the timeline starts.
    pub origin: Timestamp,
}

/// A timeline that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct TimelineError(String);

impl fmt::Display for TimelineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{TIMELINE_ENV} is `{}`, expected FACTOR@ORIGIN_MICROS with a factor of 1 to 240",
            self.0
        )
    }
}

impl std::error::Error for TimelineError {}

impl Timeline {
    /// Product time is wall time.
    pub const REAL: Self = Self { scale: TimeScale::REAL, origin: Timestamp::from_micros(0) };

    /// A timeline that starts now.
    pub fn starting_now(scale: TimeScale) -> Self {
        Self { scale, origin: wall_now() }
    }

    /// Reads [`TIMELINE_ENV`]; real time where it is unset.
    ///
    /// # Errors
    /// If the variable is set and cannot be read.
    pub fn from_env() -> Result<Self, TimelineError> {
        match std::env::var(TIMELINE_ENV) {
            Ok(text) => text.parse(),
            Err(_) => Ok(Self::REAL),
        }
    }

    fn at(self, wall: Timestamp) -> Timestamp {
        self.origin + self.scale.product(wall.since(self.origin))
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.scale.factor(), self.origin.as_micros())
    }
}

impl FromStr for Timeline {
    type Err = TimelineError;
    fn from_str(text: &str) -> Result<Self, TimelineError> {
        let parse = || {
            let (factor, origin) = text.split_once('@')?;
            let scale = TimeScale::new(factor.parse().ok()?)?;
            Some(Self { scale, origin: Timestamp::from_micros(origin.parse().ok()?) })
        };
        parse().ok_or_else(|| TimelineError(text.to_owned()))
    }
}

fn wall_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The clock of a real process: anchored to the wall clock once, at its start, and
/// driven by the monotonic clock from there, so that a stepped wall clock moves no
/// deadline.
#[derive(Clone, Debug)]
pub struct ScaledClock {
    timeline: Timeline,
    started: Instant,
    started_wall: Timestamp,
}

impl ScaledClock {
    /// A clock on `timeline`, anchored now.
    pub fn new(timeline: Timeline) -> Self {
        Self { timeline, started: Instant::now(), started_wall: wall_now() }
    }

    /// The timeline that this clock runs on.
    pub fn timeline(&self) -> Timeline {
        self.timeline
    }
}

impl Clock for ScaledClock {
    fn now(&self) -> Timestamp {
        self.timeline.at(self.started_wall + self.started.elapsed())
    }

    fn scale(&self) -> TimeScale {
        self.timeline.scale
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn two_processes_on_one_timeline_agree() {
        let timeline =
            Timeline { scale: TimeScale::MAX, origin: wall_now() - Duration::from_secs(2) };
        let (a, b) = (ScaledClock::new(timeline), ScaledClock::new(timeline));
        let (first, second) = (a.now(), b.now());
        assert!(second.since(first) < TimeScale::MAX.product(Duration::from_millis(500)));
        assert!(first.since(timeline.origin) >= Duration::from_secs(480));
    }

    #[test]
    fn a_timeline_survives_the_environment() {
        let timeline = Timeline::starting_now(TimeScale::MAX);
        assert_eq!(timeline.to_string().parse(), Ok(timeline));
        for bad in ["", "240", "0@5", "x@1", "241@1"] {
            assert!(bad.parse::<Timeline>().is_err(), "{bad} was read");
        }
    }
}
