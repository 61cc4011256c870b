use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// How long the answer to a request is waited for; in the extensions of every request.
/// [`crate::Limits::request`], until the handler asks for more.
#[derive(Clone, Debug)]
pub struct Patience {
    since: Instant,
    limit_ms: Arc<AtomicU64>,
}

impl Patience {
    /// From now on for `limit`.
    pub(crate) fn of(limit: Duration) -> Self {
        Self { since: Instant::now(), limit_ms: Arc::new(AtomicU64::new(millis(limit))) }
    }

    /// Waits for `limit` since the request's head at least.
    pub fn at_least(&self, limit: Duration) {
        self.limit_ms.fetch_max(millis(limit), Ordering::Relaxed);
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(self.limit_ms.load(Ordering::Relaxed))
    }

    /// The answer, or the limit that it did not keep.
    pub(crate) async fn wait<F: Future>(&self, answer: F) -> Result<F::Output, Duration> {
        let mut answer = pin!(answer);
        loop {
            let limit = self.limit();
            match timeout_at(self.since + limit, answer.as_mut()).await {
                Ok(answer) => return Ok(answer),
                // The handler may have asked meanwhile.
                Err(_) if self.limit() > limit => {}
                Err(_) => return Err(limit),
            }
        }
    }
}

fn millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_handler_that_asks_is_waited_for() {
        let patience = Patience::of(LIMIT);
        let asked = patience.clone();
        let long = async move {
            asked.at_least(LIMIT * 1000);
            tokio::time::sleep(LIMIT * 3).await;
            7
        };
        assert_eq!(patience.wait(long).await, Ok(7));
    }

    #[tokio::test]
    async fn one_that_does_not_ask_is_not() {
        let patience = Patience::of(LIMIT);
        patience.at_least(LIMIT / 2);
        assert_eq!(patience.wait(std::future::pending::<()>()).await, Err(LIMIT));
    }
}
