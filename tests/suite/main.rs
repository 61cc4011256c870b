//! Dialtone from the outside: real processes, real HTTP, real command lines.

mod pipeline;
mod trigger;
