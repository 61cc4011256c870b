//! Response latency from recordings of calls.

pub mod analyze;
pub mod make;
pub mod selftest;
mod tell;
mod twilio;
