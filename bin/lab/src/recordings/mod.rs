//! Response latency from recordings of calls.

pub mod analyze;
pub mod make;
pub mod selftest;
pub(crate) mod tell;
mod twilio;
