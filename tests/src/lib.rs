//! Support of the integration tests: real processes, spoken to as outsiders do.
//!
//! A [`Setup`] starts a LiveKit dev server, `dialtone serve` and a test worker, runs a
//! test against them, and proves afterwards that no process is left. Nothing here sleeps
//! for luck: every wait is on a condition, has a ceiling, and says what it waited for.

mod answer;
mod api;
mod bins;
mod canary;
mod hands;
mod harness;
mod livekit;
mod platform;
mod process;
mod receiver;
mod request;
mod rig;
mod stream;
mod upload;
pub mod wait;

pub use answer::Answer;
pub use api::Api;
pub use bins::bins;
pub use canary::{Canaries, Leak};
pub use hands::{Hand, Hands};
pub use harness::{Ended, Harness, Running};
pub use livekit::create_dispatch;
pub use platform::{Platform, Said};
pub use process::Process;
pub use receiver::{Got, Manner, Receiver};
pub use request::TestBatch;
pub use rig::{Rig, Setup};
pub use stream::{EventStream, Message};
pub use upload::live_batch;
