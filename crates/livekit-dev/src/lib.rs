//! A LiveKit-compatible development server in pure Rust.
//!
//! It serves the parts of LiveKit that batches, agent workers and tests need: the
//! room and dispatch services (Twirp, protobuf and JSON), the worker socket
//! (`/agent`), signalling (`/rtc`, without media) and webhooks. Protocol: LiveKit's
//! protobufs; behaviour: livekit-server's `pkg/service`, `pkg/rtc` and `pkg/agent`.
//!
//! [`Mode::Oss`] behaves as the open-source server does, faults included: a dispatch
//! that finds no worker is dropped for ever, an unanswered offer is not made to
//! another worker, the jobs of a lost worker are not dispatched again, and job states
//! in `ListDispatch` stay at `JS_RUNNING`. That is what a dispatcher's own recovery
//! has to be tested against. [`Mode::Queue`] mends these, each by an option of
//! [`Features`].
//!
//! One lock guards all state and is never held over an await; every queue is bounded.
//! All durations are wall time: they are LiveKit's, not the product's.
//!
//! Without media, a participant of a real SDK stays `JOINED`. A client that says
//! `signal_only=1` in the query of `/rtc` (Dialtone's own agent worker does) is called
//! active as soon as it has joined.

mod agent_socket;
mod auth;
mod dispatch;
mod dispatch_service;
mod emit;
mod ids;
mod launch;
mod options;
mod room;
mod room_service;
mod rtc_socket;
mod server;
mod socket;
mod state;
mod twirp;
mod waiting;
mod webhook;
mod worker;

pub use options::{Features, Mode, Options, OptionsError, Timings};
pub use server::{Handle, LivekitDev, WorkerView, Workers};
