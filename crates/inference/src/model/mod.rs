//! The model: weights, the forward pass, and the memory of past tokens.

mod attention;
mod config;
mod error;
mod forward;
pub mod kv;
mod native;
mod plan;
mod rope;
mod simd;
mod weights;

pub use config::{Architecture, Config, Rope};
pub use error::Error;
pub use native::{Model, Options};
