use std::time::Duration;

use dialtone_contract::{FieldError, Problem, limits};

use crate::error::Failure;

/// Reads a wait of at most [`limits::STATUS_WAIT_MAX`]: `20s`, `500ms`, or bare seconds.
pub fn parse(text: &str) -> Result<Duration, Failure> {
    let read = || {
        let (digits, unit) = match text.strip_suffix("ms") {
            Some(digits) => (digits, 1),
            None => (text.strip_suffix('s').unwrap_or(text), 1000),
        };
        let number: u64 = digits.parse().ok()?;
        Some(Duration::from_millis(number.checked_mul(unit)?))
    };
    read().filter(|wait| *wait <= limits::STATUS_WAIT_MAX).ok_or_else(|| {
        let detail = format!("`{text}` is not a wait of at most {:?}", limits::STATUS_WAIT_MAX);
        Problem::invalid(vec![FieldError::new("/query/wait", "invalid", detail)]).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_have_a_unit_and_a_limit() {
        assert_eq!(parse("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("3"), Ok(Duration::from_secs(3)));
        for bad in ["", "s", "21s", "-1s", "1m", "1.5s", "99999999999999999999s"] {
            assert!(parse(bad).is_err(), "{bad} was read");
        }
    }
}
