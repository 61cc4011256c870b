//! The developer harness: starts the stack as real processes, plays scenarios against it through
//! its public HTTP surface, checks what must then be true, and takes everything down again.
//!
//! ```text
//! xtask -> flow (scenario) -> stack (processes)          everything that happens is an event:
//!             |                  |                       terminal, JSON, JUnit and the files of
//!             +---- run ---------+----> event bus -----> the run folder are its consumers
//! ```
//!
//! Invariants:
//! - The harness speaks HTTP like an outsider and links nothing of the system under test.
//! - Whatever ends a run, its processes are down and its result is written before the exit.
//! - A skip is never a pass, and a slow machine is never a failed check.

pub mod abort;
pub mod cargo;
pub mod drill;
pub mod envelope;
pub mod event;
pub mod failure;
pub mod flow;
pub mod hive;
pub mod http;
pub mod interrupt;
pub mod invariant;
pub mod junit;
pub mod lag;
pub mod mix;
mod outage;
mod outlet;
pub mod printer;
pub mod prom;
pub mod report;
pub mod run;
pub mod run_dir;
pub mod seed;
pub mod span;
pub mod sse;
pub mod stack;
pub mod tally;
pub mod tool;
