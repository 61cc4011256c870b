//! Waves: entries that are dispatched together, and all of them ended before the next.

use std::time::Duration;

use dialtone_clock::Timestamp;
use dialtone_contract::wire::BatchOptions;

/// What there is to do for a batch with waves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wave {
    /// A wave may begin; unless `past_timeout`, only if nothing is in flight.
    Begin {
        /// Whether the last one was given up.
        past_timeout: bool,
    },
    /// The last wave has been looked at; it is looked at again then.
    Wait {
        /// When.
        until: Timestamp,
    },
}

/// What to do for a batch whose last wave began at `claimed_at` and was last looked at at
/// `looked_at`. A wave is looked at `poll_s` after it began, and every `poll_s` from there.
pub fn next(
    options: &BatchOptions,
    claimed_at: Option<Timestamp>,
    looked_at: Option<Timestamp>,
    in_flight: u32,
    now: Timestamp,
) -> Wave {
    let Some(begun) = claimed_at else { return Wave::Begin { past_timeout: false } };
    let poll = Duration::from_secs(options.poll_s.max(1).into());
    let looks = |at: Timestamp| at.since(begun).as_micros() / poll.as_micros();
    // A look before the wave began was at the one before it.
    let seen = looked_at.map_or(0, looks);
    let due = looks(now);
    if due <= seen {
        let next = u32::try_from(due + 1).unwrap_or(u32::MAX);
        return Wave::Wait { until: begun + poll.saturating_mul(next) };
    }
    let past_timeout = now >= begun + Duration::from_secs(options.wave_timeout_s.into());
    if in_flight == 0 || past_timeout {
        return Wave::Begin { past_timeout };
    }
    let next = u32::try_from(due + 1).unwrap_or(u32::MAX);
    Wave::Wait { until: begun + poll.saturating_mul(next) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGUN: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn after(seconds: u64) -> Timestamp {
        BEGUN + Duration::from_secs(seconds)
    }

    fn options() -> BatchOptions {
        BatchOptions { wave_size: 15, poll_s: 5, wave_timeout_s: 60, ..BatchOptions::default() }
    }

    const BEGIN: Wave = Wave::Begin { past_timeout: false };

    #[test]
    fn the_first_wave_begins_at_once() {
        assert_eq!(next(&options(), None, None, 0, BEGUN), BEGIN);
    }

    #[test]
    fn a_wave_that_has_ended_is_noticed_at_the_next_look() {
        let at = |looked_at, in_flight, now| {
            next(&options(), Some(BEGUN), looked_at, in_flight, after(now))
        };
        let wait = |seconds| Wave::Wait { until: after(seconds) };
        assert_eq!(at(None, 0, 4), wait(5));
        assert_eq!(at(None, 0, 5), BEGIN);
        assert_eq!(at(None, 1, 7), wait(10));
        assert_eq!(at(Some(after(7)), 0, 9), wait(10), "it is not looked at in between");
        assert_eq!(at(Some(after(7)), 0, 12), BEGIN);
    }

    #[test]
    fn a_wave_that_does_not_end_is_given_up() {
        let begin = Wave::Begin { past_timeout: true };
        assert_eq!(next(&options(), Some(BEGUN), Some(after(55)), 3, after(60)), begin);
        assert_ne!(next(&options(), Some(BEGUN), Some(after(50)), 3, after(59)), begin);
    }

    #[test]
    fn a_look_at_the_wave_before_says_nothing_of_this_one() {
        let before = BEGUN - Duration::from_secs(3);
        assert_eq!(next(&options(), Some(BEGUN), Some(before), 0, after(5)), BEGIN);
    }
}
