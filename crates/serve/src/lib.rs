//! What every server process of Dialtone stands on: a hardened HTTP/1 server, health
//! and metrics, problems instead of plain errors, listeners, logs, and the plain HTTP
//! client that the processes talk to each other with.
//!
//! A server is `listen` + `serve`:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use dialtone_serve::{Limits, ListenArgs, health::Health, listen, serve, shutdown_signal};
//!
//! let listener = listen("api", &ListenArgs::default())?;
//! let health = Health::start();
//! let router = health.observe(axum::Router::new().merge(health.routes()));
//! serve(listener, router, Limits::default(), shutdown_signal()).await?;
//! # Ok(()) }
//! ```
//!
//! axum's own accept loop has no header timeout, so one silent connection is held for
//! ever; hence an accept loop of our own.

pub mod address_file;
mod body;
pub mod client;
mod files;
mod gate;
pub mod health;
mod holder;
mod host;
pub mod lag;
mod limits;
mod listen;
pub mod logs;
mod metrics;
mod patience;
pub mod problem;
mod server;
mod signal;
mod socket;

pub use client::{ClientError, HttpClient};
pub use files::make_room;
pub use gate::RequestId;
pub use limits::Limits;
pub use listen::{ListenArgs, ListenError, listen};
pub use patience::Patience;
pub use server::{Drained, serve};
pub use signal::shutdown_signal;
