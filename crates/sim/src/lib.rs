//! The batch pipeline in virtual time: the same rules, dispatcher and agents' side as
//! in production, over the memory engine, with simulated agents and a LiveKit that
//! loses, doubles and delays, one seed = one history.
//!
//! Nothing here waits. The stores and counterparts of a simulation are always ready, so
//! every future of the pipeline completes at its first poll ([`ready`]), and time is the
//! time of the next event.

mod agent;
mod clock;
mod faults;
mod livekit;
mod mutant;
mod oracle;
mod run;
mod server;
mod store;
mod world;

pub use faults::Faults;
pub use mutant::Mutant;
pub use run::{Config, Outcome, run};

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// The result of a future that never waits.
///
/// # Panics
/// If it waits: then something in the pipeline depends on more than the ports.
pub(crate) fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a simulated step waits for something outside the simulation"),
    }
}
