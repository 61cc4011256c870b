//! Names and chance that need no more than to differ.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// 64 bits, different at every call and in every process.
pub fn chance() -> u64 {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEYS.hash_one(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// `prefix` with 128 bits of its own: `chatcmpl-..`. Nobody can guess another's.
pub fn fresh(prefix: &str) -> String {
    format!("{prefix}-{:016x}{:016x}", chance(), chance())
}

/// Seconds since the Unix epoch, as OpenAI's API writes times.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_comes_twice() {
        let names: BTreeSet<String> = (0..1000).map(|_| fresh("chatcmpl")).collect();
        assert_eq!(names.len(), 1000);
    }
}
