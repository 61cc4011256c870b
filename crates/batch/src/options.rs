//! Whether a batch's options mean something, and what they mean where they say nothing.

use dialtone_contract::wire::{BatchOptions, BreakerRule, CallWindow};
use dialtone_contract::{FieldError, limits};
use dialtone_store::BatchMode;

use crate::policy::retry::{Retryable, retryable};
use crate::policy::zone::Zone;

/// The options that are in force for a batch of this mode, as the batch keeps them: what is
/// decided by a default now cannot be changed by another default later.
pub(crate) fn in_force(mut options: BatchOptions, mode: BatchMode) -> BatchOptions {
    if mode == BatchMode::Live {
        options.breaker.get_or_insert_default();
    }
    if let Some(window) = &mut options.window {
        if let Some(zone) = Zone::named(&window.tz) {
            zone.name().clone_into(&mut window.tz);
        }
        window.days.sort_unstable();
        window.days.dedup();
    }
    options
}

/// Adds what is wrong with `options` to `errors`, each with its pointer.
pub(crate) fn check(options: &BatchOptions, mode: BatchMode, errors: &mut Vec<FieldError>) {
    let mut checks = Checks { errors };
    checks.counts(options);
    checks.retries(options);
    if let Some(window) = &options.window {
        checks.window(window, mode);
    }
    if let Some(breaker) = &options.breaker {
        checks.breaker(breaker);
    }
    if options.metadata.to_string().len() > limits::METADATA_MAX {
        let detail = format!("larger than {} bytes", limits::METADATA_MAX);
        checks.add("metadata", "too_large", detail);
    }
}

struct Checks<'a> {
    errors: &'a mut Vec<FieldError>,
}

impl Checks<'_> {
    fn add(&mut self, field: &str, code: &str, detail: impl Into<String>) {
        self.errors.push(FieldError::new(format!("/options/{field}"), code, detail));
    }

    fn range<T: Copy + PartialOrd + std::fmt::Display>(
        &mut self,
        field: &str,
        value: T,
        from: T,
        to: T,
    ) {
        // Not a number is in no range.
        if !(from <= value && value <= to) {
            let detail = format!("{value} is not between {from} and {to}");
            self.add(field, "out_of_range", detail);
        }
    }

    fn counts(&mut self, options: &BatchOptions) {
        self.range("max_concurrent", options.max_concurrent, 1, limits::MAX_CONCURRENT_MAX);
        self.range("max_retries", options.max_retries, 0, limits::MAX_RETRIES_MAX);
        if let Some(rate) = options.calls_per_second {
            let (least, most) = (limits::CALLS_PER_SECOND_MIN, limits::CALLS_PER_SECOND_MAX);
            self.range("calls_per_second", rate, least, most);
        }
        self.range("ramp_s", options.ramp_s, 0, limits::RAMP_S_MAX);
        if options.ramp_s > 0 && options.calls_per_second.is_none() {
            self.add("ramp_s", "invalid", "there is no calls_per_second to grow to");
        }
        self.range("wave_size", options.wave_size, 0, limits::WAVE_MAX);
        self.range("wave_timeout_s", options.wave_timeout_s, 1, limits::WAVE_TIMEOUT_S_MAX);
        self.range("poll_s", options.poll_s, 1, limits::POLL_S_MAX);
        self.range("min_gap_s", options.min_gap_s, 0, limits::MIN_GAP_S_MAX);
    }

    fn retries(&mut self, options: &BatchOptions) {
        for (outcome, rule) in &options.retry {
            let at = |field: &str| format!("retry/{outcome}/{field}");
            match retryable(*outcome) {
                Retryable::Never => {
                    let detail = format!("an entry that ended {outcome} is never tried again");
                    self.add(&format!("retry/{outcome}"), "invalid", detail);
                }
                Retryable::AfterContact if !options.redial_after_contact => {
                    let detail = format!(
                        "a call that ended {outcome} may have reached the callee; it is dialled \
                         again only with redial_after_contact"
                    );
                    self.add(&format!("retry/{outcome}"), "needs_redial_after_contact", detail);
                }
                _ => {}
            }
            if let Some(max) = rule.max {
                self.range(&at("max"), max, 0, limits::MAX_RETRIES_MAX);
            }
            self.range(&at("base_s"), rule.base_s, 0, limits::BACKOFF_S_MAX);
            self.range(&at("factor"), rule.factor, 1.0, limits::BACKOFF_FACTOR_MAX);
            self.range(&at("cap_s"), rule.cap_s, 0, limits::BACKOFF_S_MAX);
            self.range(&at("jitter"), rule.jitter, 0.0, 1.0);
        }
    }

    fn window(&mut self, window: &CallWindow, mode: BatchMode) {
        if window.is_by_recipient() {
            if mode == BatchMode::Test {
                let detail = "the recipients of a test batch have no time zones; name one";
                self.add("window/tz", "invalid", detail);
            }
        } else if Zone::named(&window.tz).is_none() {
            let shown: String = window.tz.chars().take(limits::TIMEZONE_MAX).collect();
            let detail = format!("`{shown}` is neither `recipient` nor an IANA time zone");
            self.add("window/tz", "unknown_zone", detail);
        }
        if window.days.is_empty() {
            self.add("window/days", "invalid", "a window that opens on no day never opens");
        }
        if window.start == window.end {
            let detail = "a window that closes when it opens never opens; the whole day is 00:00 \
                          to 24:00";
            self.add("window/end", "invalid", detail);
        }
        if window.start.minutes() == 24 * 60 {
            self.add("window/start", "invalid", "a window opens at 23:59 at the latest");
        }
    }

    fn breaker(&mut self, rule: &BreakerRule) {
        let window = limits::BREAKER_WINDOW_S_MAX;
        self.range("breaker/window_s", rule.window_s, 1, window);
        let attempts = limits::BREAKER_ATTEMPTS_MAX;
        self.range("breaker/min_attempts", rule.min_attempts, 1, attempts);
        self.range("breaker/failure_rate", rule.failure_rate, 0.001, 1.0);
        let resume = limits::BREAKER_RESUME_S_MAX;
        self.range("breaker/resume_after_s", rule.resume_after_s, 0, resume);
        if rule.outcomes.is_empty() {
            let detail = "a breaker without outcomes never trips; use enabled: false";
            self.add("breaker/outcomes", "invalid", detail);
        }
        for (index, outcome) in rule.outcomes.iter().enumerate() {
            if !matches!(retryable(*outcome), Retryable::Always | Retryable::AfterContact) {
                let detail = format!("{outcome} says nothing of the platform");
                self.add(&format!("breaker/outcomes/{index}"), "invalid", detail);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn errors(options: Value, mode: BatchMode) -> Vec<(String, String)> {
        let options: BatchOptions = serde_json::from_value(options).expect("well-formed");
        let mut errors = Vec::new();
        check(&options, mode, &mut errors);
        errors.into_iter().map(|error| (error.pointer, error.code)).collect()
    }

    #[test]
    fn the_defaults_are_good_and_a_live_batch_has_a_breaker() {
        for mode in [BatchMode::Test, BatchMode::Live] {
            assert_eq!(errors(json!({}), mode), []);
            let breaker = in_force(BatchOptions::default(), mode).breaker;
            assert_eq!(breaker.is_some(), mode == BatchMode::Live);
        }
        let off: BatchOptions =
            serde_json::from_value(json!({"breaker": {"enabled": false}})).expect("well-formed");
        let kept = in_force(off, BatchMode::Live).breaker.expect("kept");
        assert!(!kept.enabled);
    }

    #[test]
    fn each_bad_option_is_named_with_its_pointer() {
        let window = |tz: &str, start: &str, end: &str| json!({"window": {"tz": tz, "start": start, "end": end}});
        let cases = [
            (json!({"max_concurrent": 0}), "max_concurrent", "out_of_range"),
            (json!({"max_retries": 11}), "max_retries", "out_of_range"),
            (json!({"calls_per_second": 0.0}), "calls_per_second", "out_of_range"),
            (json!({"calls_per_second": 1e9}), "calls_per_second", "out_of_range"),
            (json!({"ramp_s": 10}), "ramp_s", "invalid"),
            (json!({"wave_size": 501}), "wave_size", "out_of_range"),
            (json!({"wave_timeout_s": 0}), "wave_timeout_s", "out_of_range"),
            (json!({"poll_s": 0}), "poll_s", "out_of_range"),
            (json!({"min_gap_s": 2_592_001}), "min_gap_s", "out_of_range"),
            (json!({"retry": {"no_answer": {"max": 11}}}), "retry/no_answer/max", "out_of_range"),
            (json!({"retry": {"busy": {"factor": 0.5}}}), "retry/busy/factor", "out_of_range"),
            (json!({"retry": {"busy": {"jitter": 1.5}}}), "retry/busy/jitter", "out_of_range"),
            (json!({"retry": {"completed": {}}}), "retry/completed", "invalid"),
            (json!({"retry": {"failed": {}}}), "retry/failed", "needs_redial_after_contact"),
            (window("Mars/Olympus", "09:00", "17:00"), "window/tz", "unknown_zone"),
            (window("UTC", "09:00", "09:00"), "window/end", "invalid"),
            (window("UTC", "24:00", "09:00"), "window/start", "invalid"),
            (
                json!({"window": {"tz": "UTC", "days": [], "start": "09:00", "end": "17:00"}}),
                "window/days",
                "invalid",
            ),
            (json!({"breaker": {"failure_rate": 0.0}}), "breaker/failure_rate", "out_of_range"),
            (json!({"breaker": {"outcomes": []}}), "breaker/outcomes", "invalid"),
            (json!({"breaker": {"outcomes": ["no_answer"]}}), "breaker/outcomes/0", "invalid"),
            (json!({"metadata": "x".repeat(limits::METADATA_MAX)}), "metadata", "too_large"),
        ];
        for (options, field, code) in cases {
            let expected = [(format!("/options/{field}"), code.to_owned())];
            assert_eq!(errors(options.clone(), BatchMode::Live), expected, "{options}");
        }
        let redial = json!({"retry": {"failed": {}}, "redial_after_contact": true});
        assert_eq!(errors(redial, BatchMode::Live), []);
    }

    #[test]
    fn only_people_have_a_zone_of_their_own() {
        let options = json!({"window": {"tz": "recipient", "start": "09:00", "end": "17:00"}});
        assert_eq!(errors(options.clone(), BatchMode::Live), []);
        let refused = [("/options/window/tz".to_owned(), "invalid".to_owned())];
        assert_eq!(errors(options, BatchMode::Test), refused);
    }

    #[test]
    fn a_window_is_kept_in_one_spelling() {
        let options = json!({"window": {
            "tz": "europe/berlin", "days": ["fri", "mon", "fri"], "start": "09:00", "end": "17:00",
        }});
        let options: BatchOptions = serde_json::from_value(options).expect("well-formed");
        let window = in_force(options, BatchMode::Test).window.expect("kept");
        assert_eq!(window.tz, "Europe/Berlin");
        assert_eq!(serde_json::to_value(&window.days).expect("plain"), json!(["mon", "fri"]));
    }
}
