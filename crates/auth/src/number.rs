use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::{Phone, Secret};

/// A phone number as the platform compares it: a keyed hash of tenant and number. Equal
/// for equal numbers of one tenant, and says nothing of the number to whoever lacks the
/// platform's secret; so a suppression list holds no numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NumberKey([u8; NumberKey::LEN]);

impl NumberKey {
    /// Bytes of a key: 128 bits, so that two of a billion numbers never meet.
    pub const LEN: usize = 16;

    /// The key with these bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// A text that is not a number's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a number's key: expected {} hex digits", 2 * NumberKey::LEN)]
pub struct NumberKeyError;

impl FromStr for NumberKey {
    type Err = NumberKeyError;
    fn from_str(text: &str) -> Result<Self, NumberKeyError> {
        // No capitals: one key has one spelling.
        let plain = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !plain || text.len() != 2 * Self::LEN {
            return Err(NumberKeyError);
        }
        let mut bytes = [0; Self::LEN];
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| NumberKeyError)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for NumberKey {
    /// Lower-case hex.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NumberKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NumberKey({self})")
    }
}

/// Makes the keys of numbers.
#[derive(Clone)]
pub struct NumberKeys {
    key: Hmac<Sha256>,
}

impl NumberKeys {
    /// Derives the hash key from the platform's secret.
    pub fn new(secret: &Secret) -> Self {
        let mut derive =
            Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes any key");
        derive.update(b"dialtone number v1");
        let key = derive.finalize().into_bytes();
        Self { key: Hmac::new_from_slice(&key).expect("HMAC takes any key") }
    }

    /// The key of `number` for `tenant`.
    pub fn key(&self, tenant: &str, number: &Phone) -> NumberKey {
        let mut mac = self.key.clone();
        mac.update(tenant.as_bytes());
        mac.update(b"\n");
        mac.update(number.expose().as_bytes());
        let whole = mac.finalize().into_bytes();
        let mut bytes = [0; NumberKey::LEN];
        bytes.copy_from_slice(&whole[..NumberKey::LEN]);
        NumberKey(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_key_per_tenant_and_secret() {
        let keys = NumberKeys::new(&Secret::new("s"));
        let number = Phone::parse("+4930123456").expect("a number");
        let key = keys.key("demo", &number);
        assert_eq!(key, keys.key("demo", &number));
        assert_ne!(key, keys.key("acme", &number));
        assert_ne!(key, NumberKeys::new(&Secret::new("t")).key("demo", &number));
        let other = Phone::parse("+4930123457").expect("a number");
        assert_ne!(key, keys.key("demo", &other));
        assert_eq!(key.to_string().parse(), Ok(key));
        for bad in ["", "00", "+4930123456", &key.to_string().to_uppercase()] {
            assert_eq!(bad.parse::<NumberKey>(), Err(NumberKeyError), "{bad} was read");
        }
    }
}
