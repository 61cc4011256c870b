use std::time::{SystemTime, UNIX_EPOCH};

use dialtone_clock::Rng;
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

/// LiveKit's ids leave out characters that look alike (protocol/utils/guid).
const ALPHABET: &[u8] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const LENGTH: usize = 12;

/// A random id, such as `RM_` and 12 characters.
pub(crate) fn random(prefix: &str, rng: &mut Rng) -> String {
    let mut id = String::with_capacity(prefix.len() + LENGTH);
    id.push_str(prefix);
    for _ in 0..LENGTH {
        id.push(char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]));
    }
    id
}

/// The same id for the same `name`, so that a repeated request finds what the first
/// one made.
pub(crate) fn derived(prefix: &str, name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let tail =
        digest.iter().take(LENGTH).map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()]));
    prefix.chars().chain(tail).collect()
}

/// Nanoseconds since the Unix epoch, LiveKit's unit for jobs and dispatches.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    now_ns() / 1_000_000
}
