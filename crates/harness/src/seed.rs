//! What must differ between runs: seeds, run ids and nonces.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// A number that nobody can foresee, from the keys that the system gives to hash maps.
pub fn random() -> u64 {
    // Two states are keyed apart, so one number never tells the next.
    RandomState::new().build_hasher().finish()
}

/// A seed: short enough to type again.
pub fn seed() -> u64 {
    random() % 1_000_000_000
}

/// A run id: sorts by time, differs between runs of the same second, and is a plain file name.
pub fn run_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("{}-{}", base36(now, 6), base36(random(), 4))
}

/// A nonce that a started process must show, so that nobody else's answer is taken for its own.
pub fn nonce() -> String {
    format!("{}{}", base36(random(), 12), base36(random(), 12))
}

/// The last `width` digits of `number` in base 36.
fn base36(mut number: u64, width: usize) -> String {
    let mut digits = vec![b'0'; width];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(number % 36).unwrap_or_default()];
        number /= 36;
    }
    String::from_utf8_lossy(&digits).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_sort_by_time() {
        assert_eq!(base36(36 * 36 + 35, 4), "010z");
        assert!(base36(1_795_312_800, 6) < base36(1_795_312_801, 6));
        assert_ne!(run_id(), run_id());
        assert_ne!(nonce(), nonce());
    }
}
