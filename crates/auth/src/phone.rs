use std::fmt;

/// A phone number in E.164, shown redacted everywhere unless exposed by name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Phone(String);

/// A text that is not an E.164 number. Does not repeat the text: it may be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an E.164 number: expected `+` and 7 to 15 digits, the first not 0")]
pub struct PhoneError;

impl Phone {
    /// Reads an E.164 number (ITU-T E.164: at most 15 digits, country codes do not
    /// begin with 0).
    ///
    /// # Errors
    /// If the text has another shape.
    pub fn parse(text: &str) -> Result<Self, PhoneError> {
        let digits = text.strip_prefix('+').ok_or(PhoneError)?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
        if plain && (7..=15).contains(&digits.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PhoneError)
        }
    }

    /// The number itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the number is in the range that only simulations use:
    /// `+1555000` and 4 to 8 digits more.
    pub fn is_simulated(&self) -> bool {
        self.0.strip_prefix("+1555000").is_some_and(|rest| (4..=8).contains(&rest.len()))
    }
}

impl fmt::Display for Phone {
    /// The first five characters and the last two.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}***{}", &self.0[..5], &self.0[self.0.len() - 2..])
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Phone({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_e164_is_read() {
        assert!(Phone::parse("+15550001234").is_ok());
        for bad in
            ["", "+", "15550001234", "+0555000123", "+1555x001234", "+1234567890123456", "+123456"]
        {
            assert_eq!(Phone::parse(bad), Err(PhoneError), "{bad} was read");
        }
    }

    #[test]
    fn a_number_is_redacted_unless_exposed() {
        let phone = Phone::parse("+15550001234").expect("valid");
        assert_eq!(phone.to_string(), "+1555***34");
        assert_eq!(format!("{phone:?}"), "Phone(+1555***34)");
        assert_eq!(phone.expose(), "+15550001234");
    }

    #[test]
    fn the_simulated_range_has_four_to_eight_more_digits() {
        let simulated = |text| Phone::parse(text).expect("valid").is_simulated();
        assert!(simulated("+15550000001"));
        assert!(simulated("+155500012345678"));
        assert!(!simulated("+1555000123"));
        assert!(!simulated("+15551230001"));
    }
}
