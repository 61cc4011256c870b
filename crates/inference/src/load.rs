//! From a model file to something that can run.

mod engine;
mod error;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::decoder::Decoder;
use crate::gguf::{self, Gguf};
use crate::matrix::Isa;
use crate::model::{self, Model};
use crate::template::ChatTemplate;
use crate::tokenizer::{self, Tokenize};

pub use engine::{is_native, load_on};
pub use error::LoadError;

/// The model that comes with the engine.
pub const BUILT_IN: &str = "builtin";

/// Its whole file.
pub const BUILT_IN_FILE: &[u8] = include_bytes!("../../../.test-models/tiny.gguf");

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
    /// The same as memory, in bytes, where `kv_tokens` is absent.
    pub kv_bytes: Option<usize>,
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

/// The header of a model file: what it is, in milliseconds, without loading it.
///
/// # Errors
/// If there is no such file, or it is no model, or damaged or cut short.
pub fn inspect(source: &Source) -> Result<ModelInfo, LoadError> {
    let failed = |error: gguf::Error| LoadError::of_file(source, error);
    info(source, &open(source)?).map_err(failed)
}

/// Loads a model and all that belongs to it; `progress` is told the part that is done, 0 to 1.
///
/// # Errors
/// If there is no such file, it is no model that runs here, is damaged, or does not fit the
/// machine. Whatever the header can tell is told before anything large is read.
pub fn load(
    source: &Source,
    options: &LoadOptions,
    progress: &dyn Fn(f32),
) -> Result<Loaded, LoadError> {
    let gguf = open(source)?;
    let info = info(source, &gguf).map_err(|error| LoadError::of_file(source, error))?;
    // An architecture that is not known is the better answer than its tokenizer's kind.
    model::Architecture::of(gguf.metadata()).map_err(|error| LoadError::of_model(source, error))?;
    let tokenizer =
        tokenizer::from_gguf(&gguf).map_err(|error| LoadError::of_tokenizer(source, error))?;
    let template = ChatTemplate::from_gguf(&gguf, &*tokenizer)
        .map_err(|error| LoadError::invalid(source, &error))?;
    let LoadOptions { slots, context, kv_tokens, kv_bytes, threads, isa } = *options;
    let options = model::Options { slots, context, kv_tokens, kv_bytes, threads, isa };
    let model = Model::load(&gguf, &options, progress)
        .map_err(|error| LoadError::of_model(source, error))?;
    let device = model.isa().to_string();
    Ok(Loaded { decoder: Box::new(model), tokenizer, template, info, device })
}

fn open(source: &Source) -> Result<Gguf, LoadError> {
    let opened = match source {
        Source::File(path) => Gguf::open(path),
        Source::BuiltIn => Gguf::from_bytes(BUILT_IN_FILE),
    };
    opened.map_err(|error| LoadError::of_file(source, error))
}

fn info(source: &Source, gguf: &Gguf) -> Result<ModelInfo, gguf::Error> {
    let metadata = gguf.metadata();
    let stem = match source {
        Source::File(path) => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()),
        Source::BuiltIn => None,
    };
    let named = metadata.str("general.name")?.filter(|name| !name.is_empty()).map(str::to_owned);
    let mut formats = BTreeMap::new();
    for tensor in gguf.tensors() {
        *formats.entry(tensor.ty).or_insert(0u64) += tensor.values() as u64;
    }
    let most = formats.iter().max_by_key(|(_, values)| **values);
    let rows = gguf.tensor("token_embd.weight").map_or(0, |tensor| tensor.dims[1]);
    Ok(ModelInfo {
        name: named.or(stem).unwrap_or_else(|| BUILT_IN.to_owned()),
        architecture: metadata.architecture()?.to_owned(),
        version: gguf.version(),
        tensors: gguf.tensors().len(),
        parameters: formats.values().sum(),
        bytes: gguf.len(),
        format: most.map(|(ty, _)| ty.to_string()).unwrap_or_default(),
        context: metadata.arch("context_length")?.unwrap_or(0),
        vocab: rows,
    })
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::BuiltIn => f.write_str(BUILT_IN),
        }
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("info", &self.info).field("device", &self.device).finish()
    }
}
