//! The engine over a model that does what the tests say.

mod admission;
mod batching;
mod ending;
mod fake;
mod faults;
mod output;
