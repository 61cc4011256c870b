//! When calls to an entry may begin.

use std::time::Duration;

use dialtone_clock::Timestamp;
use dialtone_contract::wire::{BatchOptions, CallWindow};

use super::window::{Opening, opening};
use super::zone::Zone;

/// For how long an entry without a known zone is out of a window by recipient. Intake
/// takes none of them in; what is stored all the same is never called.
const NO_ZONE: Duration = Duration::from_secs(24 * 3600);

/// Whether the batch's window is open for a recipient in `timezone`.
pub fn opening_for(window: &CallWindow, timezone: Option<&str>, now: Timestamp) -> Opening {
    let name = if window.is_by_recipient() { timezone } else { Some(window.tz.as_str()) };
    match name.and_then(Zone::named) {
        Some(zone) => opening(window, &zone, now),
        None => Opening::Closed { until: now + NO_ZONE },
    }
}

/// The first moment from `at` on at which a call to a recipient in `timezone` may begin.
pub fn earliest(options: &BatchOptions, timezone: Option<&str>, at: Timestamp) -> Timestamp {
    let Some(window) = &options.window else { return at };
    match opening_for(window, timezone, at) {
        Opening::Open { .. } => at,
        Opening::Closed { until } => until,
    }
}

/// Zones in which a window by recipient is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenZones {
    /// Their names.
    pub names: Vec<String>,
    /// When to look again: no zone opens or closes before.
    pub until: Timestamp,
}

/// The zones in which `window` is open at `now`.
pub fn open_zones(window: &CallWindow, now: Timestamp) -> OpenZones {
    let mut open = OpenZones { names: Vec::new(), until: now + NO_ZONE };
    for zone in Zone::all() {
        let opening = opening(window, &zone, now);
        open.until = open.until.min(opening.until());
        if opening.is_open() {
            open.names.push(zone.name().to_owned());
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let at: jiff::Timestamp = text.parse().expect(text);
        Timestamp::from_micros(at.as_microsecond())
    }

    fn window(tz: &str) -> CallWindow {
        let text = format!(r#"{{"tz": "{tz}", "start": "09:00", "end": "17:00"}}"#);
        serde_json::from_str(&text).expect("a window")
    }

    #[test]
    fn a_recipient_without_a_zone_is_never_called() {
        let now = at("2026-11-20T12:00:00Z");
        for timezone in [None, Some("Mars/Olympus"), Some("")] {
            let opening = opening_for(&window("recipient"), timezone, now);
            assert!(!opening.is_open() && opening.until() > now, "{timezone:?}");
        }
    }

    #[test]
    fn the_zone_is_the_batchs_or_the_recipients() {
        let now = at("2026-11-20T12:00:00Z");
        let options = |tz| BatchOptions { window: Some(window(tz)), ..BatchOptions::default() };
        let new_york = Some("America/New_York");
        let next = |tz| earliest(&options(tz), new_york, now).to_string();
        assert_eq!(next("Europe/Berlin"), "2026-11-20T12:00:00.000000Z");
        assert_eq!(next("recipient"), "2026-11-20T14:00:00.000000Z");
        assert_eq!(earliest(&BatchOptions::default(), new_york, now), now);
    }

    #[test]
    fn zones_open_and_close_when_their_list_says() {
        let window = window("recipient");
        let mut now = at("2026-03-28T00:00:00Z");
        for _ in 0..60 {
            let open = open_zones(&window, now);
            let before = Timestamp::from_micros(open.until.as_micros() - 1);
            assert_eq!(open_zones(&window, before).names, open.names, "at {before}");
            assert_ne!(open_zones(&window, open.until).names, open.names, "at {}", open.until);
            assert!(open.names.len() > 50 && open.names.len() < 400, "{}", open.names.len());
            now = open.until;
        }
    }
}
