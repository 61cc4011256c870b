//! The HTTP surface of the LLM worker: OpenAI-compatible streaming, health and readiness, slots,
//! metrics, and heartbeats to a hive.
//!
//! ```text
//! routes -> ask (what is wanted) -> generate (tokens, the engine) -> answer (timed, counted)
//!                                                                      |
//!                                              chat, completion, job: events or one document
//! ```
//!
//! A [`Worker`] serves before it has a model: it answers `/health` at once, is ready only when
//! its model has generated a token, and tells its hive both. A client that goes away drops its
//! answer, which cancels the request in the engine. One that shuts only its sending side counts
//! as gone, too: to the server both look alike, and no client in use does so.
//!
//! Errors under `/v1/` are written as OpenAI's API writes them, all others as problems; so is
//! one under `/v1/` too, if the request names a host that is not served here: that is refused
//! before any route is looked for.

mod answer;
mod ask;
mod chat;
mod completion;
mod events;
mod generate;
pub mod heartbeat;
mod id;
mod job;
mod key;
mod metrics;
mod models;
mod options;
mod phase;
mod refusal;
mod routes;
mod status;
mod tokens;
mod worker;

pub use key::{ApiKey, KeyError};
pub use options::Options;
pub use phase::Phase;
pub use routes::routes;
pub use worker::{Hung, Identity, OpenError, Serving, Worker};
