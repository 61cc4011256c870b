//! The compatibility engine: llama.cpp behind the same interfaces as the native one.
//!
//! It runs more architectures and formats, and GPUs. Only in builds with the feature
//! `llama-cpp`; `docs/backends.md` says what such a build needs.
//!
//! Less is promised than by the native engine: logits may differ in the last bits with the rows
//! that run beside a row, and with what was remembered.

mod decoder;
mod device;
mod memory;
mod vocabulary;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;

use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;

use crate::backend::{Backend, Device};
use crate::decoder::{Decoder, Shape};
use crate::load::LoadOptions;
use crate::tokenizer::Tokenize;

use decoder::LlamaCpp;
use vocabulary::Vocabulary;

pub use device::devices;

/// Rows that llama.cpp computes at once.
const BATCH: u32 = 512;
/// Memory of past tokens, in bytes, unless the options say more.
const KV_BYTES: u64 = 64 << 20;
/// More layers than any model has: all go to the device.
const ALL_LAYERS: u32 = 9999;

/// Why llama.cpp does not run a model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The libraries that compute were not found beside the program.
    #[error("llama.cpp has no backend libraries (libggml-cpu..) in {}", looked.display())]
    NoLibraries {
        /// Where they were looked for.
        looked: PathBuf,
    },
    /// llama.cpp does not load the file.
    #[error("llama.cpp cannot load {}: {reason} (its own messages are in the log)", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// What it says.
        reason: String,
    },
    /// There is not the memory for what was asked.
    #[error("llama.cpp cannot make room for {tokens} tokens of {slots} sequences: {reason}")]
    Context {
        /// Tokens asked for.
        tokens: usize,
        /// Sequences asked for.
        slots: usize,
        /// What it says.
        reason: String,
    },
    /// The model writes no text.
    #[error("{} is not a model that continues text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
}

/// A model that llama.cpp runs.
pub struct Model {
    /// The model.
    pub decoder: Box<dyn Decoder>,
    /// Its tokenizer.
    pub tokenizer: Arc<dyn Tokenize>,
    /// What computes: `llama.cpp CUDA0 (NVIDIA H200)`.
    pub device: String,
}

/// Loads a GGUF file to run on `device`: with all its layers on a GPU, or wholly on the CPU.
/// `progress` is told the part that is done, 0 to 1.
///
/// # Errors
/// If llama.cpp cannot, and if the model has no vocabulary or no context.
pub fn load(
    path: &Path,
    options: &LoadOptions,
    device: &Device,
    progress: &dyn Fn(f32),
) -> Result<Model, Error> {
    let backend = device::backend()?;
    let failed = |reason: String| Error::Load { path: path.to_owned(), reason };
    if !path.is_file() {
        return Err(failed("there is no such file".to_owned()));
    }
    let (gpu, name) = match device.backend {
        Backend::Cpu => (None, format!("llama.cpp cpu ({})", device.name)),
        backend => {
            let (number, name) = device::find(backend, device.index)
                .ok_or_else(|| failed(format!("{backend} device {} is gone", device.index)))?;
            (Some(number), format!("llama.cpp {name} ({})", device.name))
        }
    };
    let model = read(backend, path, gpu, progress).map_err(failed)?;
    let (vocab, trained) = (model.n_vocab(), model.n_ctx_train());
    let (Ok(vocab @ 1..), 1..) = (usize::try_from(vocab), trained) else {
        return Err(Error::NotText { path: path.to_owned() });
    };
    let model = Arc::new(model);
    let context = options.context.unwrap_or(usize::MAX).clamp(1, trained as usize);
    let slots = options.slots.max(1);
    let tokens = options
        .kv_tokens
        .unwrap_or_else(|| fitting(&model, context, options.kv_bytes))
        .max(context);
    let no_room = |reason: String| Error::Context { tokens, slots, reason };
    let size = u32::try_from(tokens).map_err(|error| no_room(error.to_string()))?;
    let on_gpu = device.backend != Backend::Cpu;
    let threads = i32::try_from(options.threads.max(1)).unwrap_or(i32::MAX);
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(size))
        .with_n_batch(BATCH)
        .with_n_ubatch(BATCH)
        .with_n_seq_max(u32::try_from(slots).unwrap_or(u32::MAX))
        // One memory for all sequences, so that they can share what they have in common.
        .with_kv_unified(true)
        // A model with a sliding window keeps all tokens, or none of them could be reused.
        .with_swa_full(true)
        .with_n_threads(threads)
        .with_n_threads_batch(threads)
        // Work for the CPU stays there even where a GPU is at hand.
        .with_offload_kqv(on_gpu)
        .with_op_offload(on_gpu);
    let shape = Shape { vocab, context, slots };
    let decoder = LlamaCpp::new(backend, model.clone(), params, shape)
        .map_err(|error| no_room(error.to_string()))?;
    let tokenizer = Arc::new(Vocabulary::new(model));
    Ok(Model { decoder: Box::new(decoder), tokenizer, device: name })
}

/// Reads the model on a thread of its own, since llama.cpp tells the progress to a callback that
/// may borrow nothing. `gpu` is llama.cpp's number of the device for all layers.
fn read(
    backend: &LlamaBackend,
    path: &Path,
    gpu: Option<usize>,
    progress: &dyn Fn(f32),
) -> Result<LlamaModel, String> {
    let (sender, parts) = mpsc::channel();
    let reading = move || {
        // Nobody listens any more if this fails, and the model is read all the same.
        let tell = move |part| {
            let _ = sender.send(part);
            true
        };
        let params = LlamaModelParams::default().with_progress_callback(tell);
        let params = match gpu {
            None => params.with_n_gpu_layers(0),
            Some(number) => params
                .with_n_gpu_layers(ALL_LAYERS)
                .with_devices(&[number])
                .map_err(|error| error.to_string())?,
        };
        LlamaModel::load_from_file(backend, path, &params).map_err(|error| error.to_string())
    };
    thread::scope(|scope| {
        let reading = scope.spawn(reading);
        parts.iter().for_each(progress);
        reading.join().unwrap_or_else(|_| Err("it panicked".to_owned()))
    })
}

/// Tokens that fit the memory, as f16 keys and values.
fn fitting(model: &LlamaModel, context: usize, bytes: Option<usize>) -> usize {
    let heads = u64::from(model.n_head().max(1));
    let width = u64::try_from(model.n_embd()).unwrap_or(1) * u64::from(model.n_head_kv()) / heads;
    let per_token = (4 * width * u64::from(model.n_layer())).max(1);
    let bytes = bytes.map_or(KV_BYTES, |bytes| bytes as u64);
    usize::try_from(bytes / per_token).unwrap_or(usize::MAX).max(context)
}
