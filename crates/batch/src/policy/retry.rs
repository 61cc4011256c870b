//! Whether an ended attempt is followed by another, and when.

use std::time::Duration;

use dialtone_clock::rng_for;
use dialtone_contract::wire::{BatchOptions, RetryRule};
use dialtone_contract::{Outcome, RetryClass};
use rand::Rng as _;

/// What a retry rule may be given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retryable {
    /// Always: the callee cannot have been reached.
    Always,
    /// Only where the batch asks for it by a rule: the callee was reached and did not talk.
    ByRule,
    /// Only with `redial_after_contact`: the callee may have been talking.
    AfterContact,
    /// Never: there is nothing left to try.
    Never,
}

/// How far an outcome allows another attempt.
pub const fn retryable(outcome: Outcome) -> Retryable {
    match outcome {
        Outcome::DispatchFailed | Outcome::TimeoutUnclaimed => Retryable::Always,
        Outcome::NoAnswer | Outcome::Busy | Outcome::Declined | Outcome::Voicemail => {
            Retryable::ByRule
        }
        Outcome::Failed
        | Outcome::AgentError
        | Outcome::TimeoutRinging
        | Outcome::TimeoutInCall => Retryable::AfterContact,
        Outcome::Completed | Outcome::Suppressed | Outcome::Cancelled => Retryable::Never,
    }
}

/// The attempt that ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Place of the entry in its batch.
    pub seq: u32,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// What came of it.
    pub outcome: Outcome,
    /// What the transition table says of the way it ended.
    pub class: RetryClass,
}

/// Story time before the next attempt, or `None` if `ended` was the entry's last.
pub fn wait(options: &BatchOptions, seed: u64, ended: Ended) -> Option<Duration> {
    let rule = options.retry.get(&ended.outcome).copied();
    let rule = match (ended.class, retryable(ended.outcome)) {
        (_, Retryable::Never) | (RetryClass::Never, _) => None,
        (RetryClass::BeforeContact, _) => Some(rule.unwrap_or_default()),
        (RetryClass::ByOutcome, Retryable::ByRule) => rule,
        (RetryClass::AfterContact | RetryClass::ByOutcome, _) => {
            options.redial_after_contact.then(|| rule.unwrap_or_default())
        }
    }?;
    let last = rule.max.map_or(options.max_retries, |max| max.min(options.max_retries));
    (ended.attempt <= last).then(|| backoff(&rule, seed, ended))
}

/// The rule's wait for this attempt, shortened by chance: the same entry and attempt always
/// have the same.
fn backoff(rule: &RetryRule, seed: u64, ended: Ended) -> Duration {
    let earlier = i32::try_from(ended.attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let grown = f64::from(rule.base_s) * rule.factor.powi(earlier);
    let whole_s = grown.min(f64::from(rule.cap_s));
    let parts = [b"backoff".as_slice(), &ended.seq.to_le_bytes(), &ended.attempt.to_le_bytes()];
    let chance = f64::from(rng_for(seed, &parts).next_u32()) / f64::from(u32::MAX);
    Duration::try_from_secs_f64(whole_s * (1.0 - rule.jitter * chance)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ended(attempt: u32, outcome: Outcome, class: RetryClass) -> Ended {
        Ended { seq: 1, attempt, outcome, class }
    }

    fn with(outcome: Outcome, rule: RetryRule) -> BatchOptions {
        BatchOptions { retry: [(outcome, rule)].into(), max_retries: 5, ..Default::default() }
    }

    #[test]
    fn what_the_callee_did_is_tried_again_only_by_a_rule() {
        for outcome in [Outcome::NoAnswer, Outcome::Busy, Outcome::Declined, Outcome::Voicemail] {
            let first = ended(1, outcome, RetryClass::ByOutcome);
            let redial = BatchOptions { redial_after_contact: true, ..Default::default() };
            assert_eq!(wait(&redial, 1, first), None);
            assert!(wait(&with(outcome, RetryRule::default()), 1, first).is_some());
        }
    }

    #[test]
    fn a_call_that_may_have_reached_somebody_is_dialled_again_only_if_asked_for() {
        let cases = [
            (Outcome::Failed, RetryClass::ByOutcome),
            (Outcome::AgentError, RetryClass::AfterContact),
            (Outcome::TimeoutRinging, RetryClass::AfterContact),
            (Outcome::TimeoutInCall, RetryClass::AfterContact),
        ];
        for (outcome, class) in cases {
            let mut options = with(outcome, RetryRule::default());
            assert_eq!(wait(&options, 1, ended(1, outcome, class)), None, "{outcome}");
            options.redial_after_contact = true;
            assert!(wait(&options, 1, ended(1, outcome, class)).is_some(), "{outcome}");
        }
    }

    #[test]
    fn a_rule_bounds_by_the_number_of_the_attempt_and_the_batch_bounds_every_rule() {
        let busy = |attempt| ended(attempt, Outcome::Busy, RetryClass::ByOutcome);
        let options = with(Outcome::Busy, RetryRule { max: Some(2), ..Default::default() });
        assert!(wait(&options, 1, busy(2)).is_some());
        assert_eq!(wait(&options, 1, busy(3)), None);
        let options = BatchOptions { max_retries: 1, ..options };
        assert_eq!(wait(&options, 1, busy(2)), None);
    }

    proptest! {
        #[test]
        fn waits_grow_to_the_cap_and_chance_only_shortens_them(
            seed: u64, seq in 1..1_000_000_u32, attempt in 1..=5_u32,
            base_s in 0..86_400_u32, cap_s in 0..604_800_u32, factor in 1.0..10.0, jitter in 0.0..=1.0,
        ) {
            let rule = RetryRule { max: None, base_s, factor, cap_s, jitter };
            let options = with(Outcome::Busy, rule);
            let ended = Ended { seq, attempt, outcome: Outcome::Busy, class: RetryClass::ByOutcome };
            let waited = wait(&options, seed, ended).expect("within max_retries").as_secs_f64();
            let whole = (f64::from(base_s) * f64::powi(factor, attempt as i32 - 1)).min(cap_s.into());
            prop_assert!(waited <= whole + 1e-6, "{waited} s is longer than {whole} s");
            prop_assert!(waited >= whole * (1.0 - jitter) - 1e-6, "{waited} s is too short");
            prop_assert_eq!(wait(&options, seed, ended), wait(&options, seed, ended));
        }
    }
}
