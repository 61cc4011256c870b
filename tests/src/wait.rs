//! Waiting for conditions.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Nothing in these tests takes longer unless it hangs.
pub const CEILING: Duration = Duration::from_secs(30);

/// Time between two looks at a condition.
const LOOK: Duration = Duration::from_millis(10);

/// Looks again and again until `look` gives something; what it gives instead is said
/// when `ceiling` has passed.
///
/// # Panics
/// When `ceiling` has passed.
pub async fn within<T>(
    ceiling: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let until = Instant::now() + ceiling;
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        match look().await {
            Ok(found) => return found,
            Err(instead) if Instant::now() >= until => {
                panic!("waited {ceiling:?} for {what}, last seen: {instead}")
            }
            Err(_) => {}
        }
    }
}

/// [`within`] the usual ceiling.
///
/// # Panics
/// When the ceiling has passed.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Result<T, String>) -> T {
    within(CEILING, what, look).await
}

/// The output of a future that comes within the usual ceiling.
///
/// # Panics
/// When the ceiling has passed.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let output = timeout(CEILING, future).await;
    output.unwrap_or_else(|_| panic!("waited {CEILING:?} for {what}"))
}
