//! Response latency from recordings of calls.

pub mod make;
pub mod selftest;
mod tell;
#[expect(dead_code, reason = "the command that analyses what was fetched calls it")]
mod twilio;
