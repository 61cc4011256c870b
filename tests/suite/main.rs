//! Dialtone from the outside: real processes, real HTTP, real command lines.

mod agent;
mod idempotency;
mod pipeline;
mod reads;
mod trigger;
