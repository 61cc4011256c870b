//! Live batches: lists of numbers by JSON and as tables, what is refused of them, and
//! numbers that may not be called.

mod bodies;
mod calls;
mod rows;
mod suppressions;
