//! From a model file to something that can run.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::decoder::Decoder;
use crate::matrix::Isa;
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenize;

/// The model that comes with the engine.
pub const BUILT_IN: &str = "builtin";

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A GGUF file.
    File(PathBuf),
    /// The tiny model inside the program, so that a fresh machine has one.
    BuiltIn,
}

/// How a model is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Sequences that can run at once.
    pub slots: usize,
    /// Tokens of the longest sequence; what the model was trained for if absent or larger.
    pub context: Option<usize>,
    /// Tokens that all sequences together, and what is kept of past ones, may hold. If absent:
    /// what fits 64 MiB, at least one whole context.
    pub kv_tokens: Option<usize>,
    /// Threads that compute.
    pub threads: usize,
    /// Instruction set; the best that this processor has if absent.
    pub isa: Option<Isa>,
}

/// What is known of a model from its file alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelInfo {
    /// `general.name`, else the file's name.
    pub name: String,
    /// `general.architecture`.
    pub architecture: String,
    /// GGUF version.
    pub version: u32,
    /// Tensors.
    pub tensors: usize,
    /// Weights.
    pub parameters: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The format of most weights: `Q4_1`.
    pub format: String,
    /// Tokens of the longest sequence that it was trained for.
    pub context: usize,
    /// Entries of the vocabulary.
    pub vocab: usize,
}

/// A model that can run.
pub struct Loaded {
    /// The model.
    pub decoder: Box<dyn Decoder>,
    /// Its tokenizer.
    pub tokenizer: Arc<dyn Tokenize>,
    /// How it wants conversations.
    pub template: ChatTemplate,
    /// What it is.
    pub info: ModelInfo,
    /// What computes, for people and heartbeats: `avx512`, `CUDA0`.
    pub device: String,
}
