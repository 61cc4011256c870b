//! Heartbeats to the hive that a worker belongs to.
//!
//! One loop, no queue: what is told is looked up when it is sent, and a beat that does not
//! arrive is not sent again, since the next one tells more. Every try has a number of its own,
//! so that a hive sees by the gap that something did not arrive. A hive that is away is asked
//! again soon after, and never later than its next beat would be due.

mod hive;
mod memory;

use std::pin::pin;
use std::time::Duration;

use dialtone_clock::Timestamp;
use dialtone_contract::wire::{Heartbeat, WorkerHealth};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

pub use hive::{HiveUrl, HiveUrlError};

use crate::{Worker, id};
use hive::Hive;

/// What a beat may take, whatever the interval: on a busy machine less would lose beats that
/// nothing is wrong with, more would leave the hive without news of a change.
const BEAT_TIMEOUT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));
/// How long the last beat may hold up the end of the process.
const LAST_TIMEOUT: Duration = Duration::from_millis(500);
/// How much of that a beat may take that is under way then.
const UNDER_WAY: Duration = Duration::from_millis(200);
/// First pause after a beat that did not arrive; it doubles up to the interval.
const RETRY: Duration = Duration::from_millis(100);
/// Share by which a pause is longer or shorter, so that the workers of a restarted hive do not
/// beat in step.
const JITTER: f64 = 0.1;

/// Where heartbeats go, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The hive.
    pub hive: HiveUrl,
    /// From one beat to the next.
    pub interval: Duration,
    /// How long one may take; then it is given up.
    pub timeout: Duration,
}

impl Options {
    /// To `hive`, every `interval`; a beat may take as long, but 1 s in any case and 2 s at most.
    pub fn new(hive: HiveUrl, interval: Duration) -> Self {
        let (least, most) = BEAT_TIMEOUT;
        Self { hive, interval, timeout: interval.clamp(least, most) }
    }
}

/// The heartbeats of a worker. They end when this is dropped, without last words.
pub struct Heartbeats {
    stop: CancellationToken,
    task: JoinHandle<Beater>,
}

impl Heartbeats {
    /// Beats from now on: at once, at every change of where the worker stands, and every
    /// interval.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(worker: Worker, options: Options) -> Self {
        let stop = CancellationToken::new();
        let hive = Hive::new(&options.hive, options.timeout);
        let beater = Beater { worker, hive, options, seq: 0, reached: None, told: None };
        let task = tokio::spawn(beater.run(stop.clone()));
        Self { stop, task }
    }

    /// Sends the last beat, with where the worker stands now, and returns when it has arrived or
    /// has taken too long. A beat that is under way soon makes room for it.
    pub async fn finish(mut self) {
        self.stop.cancel();
        let last = async {
            if let Ok(mut beater) = (&mut self.task).await
                && !beater.has_said_all()
            {
                beater.beat().await;
            }
        };
        if timeout(LAST_TIMEOUT, last).await.is_err() {
            tracing::warn!("the last heartbeat took too long");
        }
    }
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Beater {
    worker: Worker,
    hive: Hive,
    options: Options,
    seq: u64,
    /// Whether the last beat arrived; told in the log when it changes.
    reached: Option<bool>,
    /// The last that the hive is known to have heard.
    told: Option<WorkerHealth>,
}

impl Beater {
    async fn run(mut self, stop: CancellationToken) -> Self {
        let mut phase = self.worker.phase();
        let mut retry = RETRY;
        loop {
            let begun = Instant::now();
            phase.borrow_and_update();
            let arrived = {
                let mut beat = pin!(self.beat());
                tokio::select! {
                    biased;
                    arrived = &mut beat => Some(arrived),
                    () = stop.cancelled() => {
                        // Given up at once it would show as lost, though nothing is wrong.
                        let _ = timeout(UNDER_WAY, beat).await;
                        None
                    }
                }
            };
            let Some(arrived) = arrived else { return self };
            let pause = if arrived {
                retry = RETRY;
                self.options.interval
            } else {
                let pause = retry.min(self.options.interval);
                retry = pause * 2;
                pause
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return self,
                Ok(()) = phase.changed() => {}
                () = sleep_until(begun + jittered(pause)) => {}
            }
        }
    }

    /// Sends one beat. Whether the hive took it.
    async fn beat(&mut self) -> bool {
        let beat = self.sample();
        self.seq += 1;
        let health = beat.health_status;
        let sent = self.hive.send(&beat).await;
        self.worker.0.metrics.heartbeat(sent.is_ok());
        if sent.is_ok() {
            self.told = Some(health);
        }
        let before = self.reached.replace(sent.is_ok());
        match &sent {
            Ok(()) if before == Some(true) => {}
            Ok(()) => tracing::info!(hive = %self.options.hive, "the hive hears the heartbeats"),
            Err(_) if before == Some(false) => {}
            Err(why) => {
                tracing::warn!(hive = %self.options.hive, why, "the hive does not hear the heartbeats");
            }
        }
        sent.is_ok()
    }

    /// Whether the hive knows that nothing more will come.
    fn has_said_all(&self) -> bool {
        let health = self.worker.phase().borrow().health();
        matches!(health, WorkerHealth::Failed | WorkerHealth::Stopped) && self.told == Some(health)
    }

    fn sample(&self) -> Heartbeat {
        let (worker, stats) = (&self.worker, self.worker.stats().unwrap_or_default());
        let rate = stats.tokens_per_s;
        Heartbeat {
            worker_id: worker.0.identity.worker_id.clone(),
            timestamp: now().to_string(),
            health_status: worker.phase().borrow().health(),
            seq: self.seq,
            nonce: worker.0.nonce.clone(),
            worker: worker.details(),
            slots_total: stats.slots_total,
            slots_busy: stats.slots_busy,
            queue_depth: stats.queue_depth,
            tokens_per_sec: if rate.is_finite() { rate } else { 0.0 },
            rss_bytes: memory::resident(),
        }
    }
}

fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// `pause`, up to a tenth longer or shorter.
#[expect(clippy::cast_precision_loss, reason = "chance needs no more bits")]
fn jittered(pause: Duration) -> Duration {
    let share = (id::chance() >> 11) as f64 / (1_u64 << 53) as f64;
    pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_tenth() {
        let pauses: Vec<_> = (0..1000).map(|_| jittered(Duration::from_secs(10))).collect();
        let within = Duration::from_secs(9)..=Duration::from_secs(11);
        assert!(pauses.iter().all(|pause| within.contains(pause)));
        assert!(pauses.iter().any(|pause| *pause < Duration::from_millis(9500)));
        assert!(pauses.iter().any(|pause| *pause > Duration::from_millis(10_500)));
    }
}
