//! Durations as people write and read them.

use std::time::Duration;

/// What a bare number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
}

/// Reads `30`, `250ms`, `1.5s` or `10m`; a bare number is in `unit`.
///
/// # Errors
/// With what was expected, if the text is none of these or the duration is not above zero.
pub fn parse(text: &str, unit: Unit) -> Result<Duration, String> {
    /// Longer is a slip of the pen: no run lasts a year.
    const LONGEST_S: f64 = 366.0 * 86_400.0;
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let factor = match (suffix, unit) {
        ("ms", _) | ("", Unit::Millis) => 1e-3,
        ("s", _) | ("", Unit::Seconds) => 1.0,
        ("m", _) | ("", Unit::Minutes) => 60.0,
        _ => return Err(format!("`{text}` has an unknown unit; use ms, s or m")),
    };
    let seconds = number
        .parse::<f64>()
        .map_err(|_| format!("`{text}` is not a duration such as 250ms, 30s or 10m"))?
        * factor;
    if seconds > 0.0 && seconds < LONGEST_S {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("`{text}` must be above zero and under a year"))
    }
}

/// A duration in the two units that matter: `12 ms`, `2.4 s`, `9 m 39 s`, `1 h 0 m`.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_takes_the_unit_and_a_suffix_wins() {
        let ms = Duration::from_millis;
        assert_eq!(parse("30", Unit::Seconds), Ok(ms(30_000)));
        assert_eq!(parse("2", Unit::Minutes), Ok(ms(120_000)));
        assert_eq!(parse("5", Unit::Millis), Ok(ms(5)));
        assert_eq!(parse("250ms", Unit::Seconds), Ok(ms(250)));
        assert_eq!(parse("1.5s", Unit::Minutes), Ok(ms(1500)));
        assert_eq!(parse("10m", Unit::Seconds), Ok(ms(600_000)));
        for bad in ["", "s", "-1", "0", "1x", "1 h", "nan", "inf", "1e30", "ten"] {
            assert!(parse(bad, Unit::Seconds).is_err(), "{bad} was read");
        }
    }

    #[test]
    fn durations_read_as_words() {
        let said = [0, 12, 999, 2_413, 59_949, 61_000, 579_000, 3_621_000]
            .map(|ms| human(Duration::from_millis(ms)));
        assert_eq!(
            said,
            ["0 ms", "12 ms", "999 ms", "2.4 s", "59.9 s", "1 m 01 s", "9 m 39 s", "1 h 00 m"]
        );
    }
}
