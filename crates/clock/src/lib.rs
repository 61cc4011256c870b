//! Time and chance, as ports.
//!
//! All product durations go through this crate, in three classes:
//!
//! - **story** time (talk, ring, backoff) scales with the run's [`TimeScale`];
//! - **guard** time (dispatching, dial claim, lease, grace) scales too but never
//!   drops under [`GUARD_FLOOR`] of wall time, so that a busy machine is not
//!   mistaken for a lost worker;
//! - **wire** time (HTTP timeouts, token ages, LiveKit protocol) is wall time and
//!   needs nothing from here.
//!
//! Product time is a [`Timestamp`]; at factor 1 it is the wall clock.

mod rng;
mod scale;
mod system;
mod timestamp;

pub use rng::{Rng, rng_for, seed_from};
pub use scale::{GUARD_FLOOR, TimeScale};
pub use system::{ScaledClock, TIMELINE_ENV, Timeline, TimelineError};
pub use timestamp::Timestamp;

/// The one source of product time in a process.
///
/// Implementations must be monotonic: two reads in order never go backwards.
pub trait Clock: Send + Sync + 'static {
    /// Product time now.
    fn now(&self) -> Timestamp;
    /// How product durations become wall durations.
    fn scale(&self) -> TimeScale;
}
