//! The inference engine of the LLM worker: reads GGUF models, runs them on the CPU, and serves
//! many sequences at once. Knows nothing of HTTP or processes; `llm-api` puts it on the wire.
//!
//! ```text
//! gguf -> quant -> matrix (packed tiles, kernels, thread pool)
//!                     |
//!                  model (forward pass, paged KV, prefix cache): a Decoder
//!                     |
//! tokenizer -------> engine (one thread: admits, batches, samples, streams)
//! ```
//!
//! Invariant: on one instruction set the logits of a row depend on the tokens before it alone,
//! never on the number of threads, the rows beside it, or what was cached.

pub mod backend;
pub mod decoder;
pub mod engine;
pub mod gguf;
#[cfg(feature = "llama-cpp")]
pub mod llama_cpp;
pub mod load;
pub mod matrix;
pub mod model;
pub mod quant;
pub mod reference;
pub mod sampling;
pub mod synthetic;
pub mod template;
pub mod tokenizer;

pub use decoder::{DecodeError, Decoder, KvUsage, Row, Shape, Token};
