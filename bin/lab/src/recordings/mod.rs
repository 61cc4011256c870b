//! Response latency from recordings of calls.

pub mod twilio;
