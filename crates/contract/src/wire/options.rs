use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Duplicates;
use crate::{Outcome, limits};

/// `options` of a batch: how it is worked off. Seconds are product time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchOptions {
    /// Calls in flight at once.
    pub max_concurrent: u32,
    /// Calls begun per second at most; null for no such bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_per_second: Option<f64>,
    /// Seconds over which the rate grows evenly from nothing to `calls_per_second`; 0 = the
    /// full rate from the start.
    pub ramp_s: u32,
    /// Entries that are dispatched together, and all of them ended before the next ones;
    /// 0 = no waves, calls follow each other as slots come free.
    pub wave_size: u32,
    /// Seconds after which the next wave begins although one call or another has not ended.
    pub wave_timeout_s: u32,
    /// Seconds between two looks at whether a wave has ended.
    pub poll_s: u32,
    /// Attempts after the first, whatever the reasons.
    pub max_retries: u32,
    /// How an attempt is followed by another, by its outcome. What has no rule here:
    /// `dispatch_failed` and `timeout_unclaimed` are tried again under
    /// [`RetryRule::default`], and so are `failed`, `agent_error`, `timeout_ringing` and
    /// `timeout_in_call` where `redial_after_contact` says so; the rest is final.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub retry: BTreeMap<Outcome, RetryRule>,
    /// Whether a call that may have reached the callee is dialled again.
    pub redial_after_contact: bool,
    /// Seconds for which a number that this batch has rung is left alone afterwards: by the
    /// batch itself, and by every live batch of the tenant.
    pub min_gap_s: u32,
    /// When calls may begin; null for always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<CallWindow>,
    /// When the batch pauses by itself; null for the default: on for live batches, off for
    /// test batches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerRule>,
    /// What becomes of a number that stands in the batch twice.
    pub duplicates: Duplicates,
    /// Free JSON, given back as it is.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub metadata: serde_json::Value,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            max_concurrent: limits::MAX_CONCURRENT_DEFAULT,
            calls_per_second: None,
            ramp_s: 0,
            wave_size: 0,
            wave_timeout_s: limits::WAVE_TIMEOUT_S_DEFAULT,
            poll_s: limits::POLL_S_DEFAULT,
            max_retries: limits::MAX_RETRIES_DEFAULT,
            retry: BTreeMap::new(),
            redial_after_contact: false,
            min_gap_s: 0,
            window: None,
            breaker: None,
            duplicates: Duplicates::default(),
            metadata: serde_json::Value::Null,
        }
    }
}

/// How an attempt with some outcome is followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryRule {
    /// The last attempt that may be followed by another for this reason: with 2, what ends
    /// so at attempt 3 is final, whatever ended the attempts before it. Null for
    /// `max_retries`, which bounds it in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Seconds of wait after the first attempt.
    pub base_s: u32,
    /// By how much each wait is longer than the one before, 1 to 10.
    pub factor: f64,
    /// Seconds of the longest wait.
    pub cap_s: u32,
    /// Share of the wait that chance may take away, 0 to 1, so that entries that failed
    /// together do not come back together.
    pub jitter: f64,
}

impl Default for RetryRule {
    fn default() -> Self {
        Self {
            max: None,
            base_s: limits::BACKOFF_BASE_S_DEFAULT,
            factor: 2.0,
            cap_s: limits::BACKOFF_CAP_S_DEFAULT,
            jitter: 0.5,
        }
    }
}

/// Local time in which calls may begin. Both ends are wall-clock times of the zone; where
/// the clocks skip one, the instant of the skip takes its place, and a time that comes
/// twice counts from its first coming for `start` and to its last for `end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallWindow {
    /// An IANA time zone such as `Europe/Berlin`, or `recipient` for the zone of each entry.
    pub tz: String,
    /// Days on which the window opens; all of them if left out.
    #[serde(default = "every_day")]
    pub days: Vec<Weekday>,
    /// When it opens.
    pub start: TimeOfDay,
    /// When it closes: before `start` it closes on the next day. `00:00` to `24:00` is the
    /// whole day.
    pub end: TimeOfDay,
}

impl CallWindow {
    /// `tz` of a window that every entry has in its own zone.
    pub const RECIPIENT: &'static str = "recipient";

    /// Whether every entry has the window in its own zone.
    pub fn is_by_recipient(&self) -> bool {
        self.tz == Self::RECIPIENT
    }
}

fn every_day() -> Vec<Weekday> {
    Weekday::ALL.to_vec()
}

/// A day of the week.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Weekday {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Weekday {
    /// All seven, Monday first.
    pub const ALL: [Self; 7] =
        [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];
}

/// A time of day, written `HH:MM`, from `00:00` to `24:00`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// Minutes since midnight, 0 to 1440.
    pub const fn minutes(self) -> u16 {
        self.0
    }
}

/// A text that is no time of day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time of day from 00:00 to 24:00, written HH:MM")]
pub struct NotATimeOfDay(String);

impl FromStr for TimeOfDay {
    type Err = NotATimeOfDay;
    fn from_str(text: &str) -> Result<Self, NotATimeOfDay> {
        let parse = || {
            let (hours, minutes) = text.split_once(':')?;
            let two_digits =
                |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            let whole = two_digits(hours) && two_digits(minutes);
            let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
            let of_day = hours * 60 + minutes;
            (whole && minutes < 60 && of_day <= 24 * 60).then_some(Self(of_day))
        };
        parse().ok_or_else(|| NotATimeOfDay(text.chars().take(16).collect()))
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = NotATimeOfDay;
    fn try_from(text: String) -> Result<Self, NotATimeOfDay> {
        text.parse()
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// When a batch pauses by itself: too large a share of its latest attempts came to nothing
/// for reasons that lie with the platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerRule {
    /// `false`: never.
    pub enabled: bool,
    /// Seconds that an ended attempt counts for.
    pub window_s: u32,
    /// Attempts that must have ended within the window for it to mean anything.
    pub min_attempts: u32,
    /// Share of them from which on the batch pauses, over 0 to 1.
    pub failure_rate: f64,
    /// Outcomes that count as failures. What the callee did is none of them: that nobody
    /// answers says nothing of the platform.
    pub outcomes: Vec<Outcome>,
    /// Seconds after which the batch resumes by itself; 0 = only when somebody resumes it.
    pub resume_after_s: u32,
}

impl Default for BreakerRule {
    fn default() -> Self {
        Self {
            enabled: true,
            window_s: limits::BREAKER_WINDOW_S_DEFAULT,
            min_attempts: limits::BREAKER_ATTEMPTS_DEFAULT,
            failure_rate: 0.5,
            outcomes: vec![Outcome::DispatchFailed, Outcome::TimeoutUnclaimed, Outcome::AgentError],
            resume_after_s: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_written_in_one_way() {
        for good in ["00:00", "09:30", "23:59", "24:00"] {
            assert_eq!(good.parse::<TimeOfDay>().expect(good).to_string(), good);
        }
        for bad in ["", "9:30", "24:01", "12:60", "12:3", "+1:00", "12:00:00", "1200", "ab:cd"] {
            assert!(bad.parse::<TimeOfDay>().is_err(), "{bad} was read");
        }
    }

    #[test]
    fn options_that_are_left_out_have_the_documented_values() {
        let read: BatchOptions = serde_json::from_str("{}").expect("all options have defaults");
        assert_eq!(read, BatchOptions::default());
        let text = serde_json::to_string(&read).expect("plain data");
        let again: BatchOptions = serde_json::from_str(&text).expect("what was written");
        assert_eq!(again, read);
    }

    #[test]
    fn names_that_no_option_has_are_refused() {
        for bad in [
            r#"{"colour": 1}"#,
            r#"{"retry": {"tired": {}}}"#,
            r#"{"retry": {"busy": {"times": 1}}}"#,
            r#"{"window": {"tz": "UTC", "start": "09:00", "end": "17:00", "holidays": []}}"#,
            r#"{"breaker": {"window": 1}}"#,
        ] {
            assert!(serde_json::from_str::<BatchOptions>(bad).is_err(), "{bad} was read");
        }
    }
}
