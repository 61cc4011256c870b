//! API keys: how they are made, and how one is known again.

use std::fmt::Write as _;
use std::hint::black_box;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::Secret;

/// Bytes of chance in a key that is made here: 8 name it, the others are the secret.
pub const RANDOM_BYTES: usize = 8 + 32;

const PREFIX: &str = "dk_";

/// What is kept of an API key: enough to know it again, useless to whoever reads it.
///
/// One round of HMAC is enough: a key is chance, not a word that could be guessed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// The hash of a key's whole text.
    pub fn of(key: &str) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"dialtone api key v1").expect("any key");
        mac.update(key.as_bytes());
        Self(mac.finalize().into_bytes().into())
    }

    /// Whether both are of one key; takes the same time wherever they differ.
    pub fn same_as(&self, other: &Self) -> bool {
        let differ =
            self.0.iter().zip(&other.0).fold(0, |differ, (a, b)| black_box(differ | a ^ b));
        differ == 0
    }
}

/// A new API key, `dk_<id>_<secret>`, and the id in it, by which it is listed and revoked.
///
/// Its text is shown once, to whoever asked for it; what is kept is its [`KeyHash`].
pub fn new_key(random: [u8; RANDOM_BYTES]) -> (String, Secret) {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes any text");
            text
        })
    };
    let (id, secret) = (hex(&random[..8]), hex(&random[8..]));
    let text = format!("{PREFIX}{id}_{secret}");
    (id, Secret::new(text))
}

/// The id in a key that [`new_key`] made; `None` for any other text.
pub fn key_id(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX)?.split_once('_').map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_hash_alone() {
        let (id, key) = new_key([7; RANDOM_BYTES]);
        assert_eq!(id, "0707070707070707");
        assert_eq!(key_id(key.expose()), Some(id.as_str()));
        assert_eq!(key.expose().len(), 3 + 16 + 1 + 64);
        let hash = KeyHash::of(key.expose());
        assert!(hash.same_as(&KeyHash::of(key.expose())));
        let (_, other) = new_key([8; RANDOM_BYTES]);
        assert!(!hash.same_as(&KeyHash::of(other.expose())));
        for bad in ["", "dk_", "dk_07", "cap1.demo.x", "07_07"] {
            assert_eq!(key_id(bad), None, "{bad}");
        }
    }
}
