use std::time::Duration;

/// A time as users write it: `250ms`, `1s`, `2m`; a bare number is seconds.
pub fn parse(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a time such as 250ms, 1s or 30");
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())
}

/// A time between two beats: they are for people and machines that look at them, not for a
/// flood.
pub fn interval(text: &str) -> Result<Duration, String> {
    let parsed = parse(text)?;
    let range = Duration::from_millis(50)..=Duration::from_secs(3600);
    if range.contains(&parsed) { Ok(parsed) } else { Err("it must be 50ms to 3600s".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_seconds() {
        for (text, millis) in
            [("250ms", 250), ("1s", 1000), ("30", 30_000), ("1.5", 1500), ("2m", 120_000)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "s", "1h", "-1", "1s2", "NaN", "1e30"] {
            assert!(parse(bad).is_err(), "{bad} was taken");
        }
        assert!(interval("10ms").is_err() && interval("250ms").is_ok());
    }
}
