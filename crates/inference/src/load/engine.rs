use crate::backend::{Chosen, Engine};
use crate::gguf::{Gguf, Type};
use crate::model;

use super::{LoadError, LoadOptions, Loaded, Source};

/// Kinds of tokenizers that are known here.
const TOKENIZERS: [&str; 2] = ["gpt2", "llama"];

/// Whether this crate's own engine runs models of this kind. Also true of files that cannot be
/// read or are damaged: loading them says what is wrong.
pub fn is_native(source: &Source) -> bool {
    super::open(source).map_or(true, |gguf| knows(&gguf))
}

fn knows(gguf: &Gguf) -> bool {
    let tokenizer = gguf.metadata().str("tokenizer.ggml.model");
    let tokenizer = !matches!(tokenizer, Ok(Some(kind)) if !TOKENIZERS.contains(&kind));
    let runs = |ty: Type| ty.runs();
    tokenizer
        && gguf.tensors().iter().all(|tensor| runs(tensor.ty))
        && !matches!(model::Config::of(gguf), Err(model::Error::Unsupported(_)))
}

/// Loads a model to run as was chosen; see [`load`](super::load).
///
/// # Errors
/// As [`load`](super::load), and what llama.cpp says of a model that it does not run.
pub fn load_on(
    source: &Source,
    options: &LoadOptions,
    chosen: &Chosen,
    progress: &dyn Fn(f32),
) -> Result<Loaded, LoadError> {
    match chosen.engine {
        Engine::Native => super::load(source, options, progress),
        Engine::LlamaCpp => other(source, options, chosen, progress),
    }
}

#[cfg(not(feature = "llama-cpp"))]
fn other(
    source: &Source,
    _: &LoadOptions,
    _: &Chosen,
    _: &dyn Fn(f32),
) -> Result<Loaded, LoadError> {
    let why = "llama.cpp is not in this build; build with `--features llama-cpp`".to_owned();
    Err(LoadError::Unsupported { model: source.to_string(), why })
}

#[cfg(feature = "llama-cpp")]
fn other(
    source: &Source,
    options: &LoadOptions,
    chosen: &Chosen,
    progress: &dyn Fn(f32),
) -> Result<Loaded, LoadError> {
    use crate::llama_cpp::{self, Error};
    use crate::template::ChatTemplate;

    // Our reader looks first: its errors are better, and llama.cpp ends the process on some
    // damaged files.
    let gguf = super::open(source)?;
    let info = super::info(source, &gguf).map_err(|error| LoadError::of_file(source, error))?;
    let model = source.to_string();
    let loaded = match source {
        Source::File(path) => llama_cpp::load(path, options, &chosen.device, progress),
        Source::BuiltIn => {
            let copy = Copy::of(super::BUILT_IN_FILE);
            let copy = copy.map_err(|error| {
                let why = format!("it cannot be written for llama.cpp: {error}");
                LoadError::Environment { model: model.clone(), why }
            })?;
            llama_cpp::load(&copy.0, options, &chosen.device, progress)
        }
    };
    let llama_cpp::Model { decoder, tokenizer, device } = loaded.map_err(|error| {
        let why = error.to_string();
        match error {
            Error::NoLibraries { .. } | Error::Context { .. } => {
                LoadError::Environment { model, why }
            }
            Error::NotText { .. } => LoadError::Unsupported { model, why },
            Error::Load { .. } => LoadError::Invalid { model, why },
        }
    })?;
    let template = ChatTemplate::from_gguf(&gguf, &*tokenizer)
        .map_err(|error| LoadError::invalid(source, &error))?;
    Ok(Loaded { decoder, tokenizer, template, info, device })
}

/// The built-in model as a file, which is all that llama.cpp reads; gone when dropped.
#[cfg(feature = "llama-cpp")]
struct Copy(std::path::PathBuf);

#[cfg(feature = "llama-cpp")]
impl Copy {
    fn of(bytes: &[u8]) -> std::io::Result<Self> {
        use std::io::Write as _;
        use std::sync::atomic::{AtomicU32, Ordering};

        static COPIES: AtomicU32 = AtomicU32::new(0);
        let copy = COPIES.fetch_add(1, Ordering::Relaxed);
        let name = format!("dialtone-builtin-{}-{copy}.gguf", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Never through a link or into a file that somebody else put there.
        let mut file = std::fs::File::create_new(&path)?;
        let copy = Self(path);
        file.write_all(bytes)?;
        Ok(copy)
    }
}

#[cfg(feature = "llama-cpp")]
impl Drop for Copy {
    fn drop(&mut self) {
        // A copy that stays does no harm.
        let _ = std::fs::remove_file(&self.0);
    }
}
