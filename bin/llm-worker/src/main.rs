//! The LLM worker.

fn main() {}
