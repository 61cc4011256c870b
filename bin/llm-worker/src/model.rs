use std::path::Path;

use dialtone_contract::ErrorCode;
use dialtone_inference::backend::{self, Backend, Choice, Engine};
use dialtone_inference::load::{BUILT_IN, LoadOptions, Source};
use dialtone_llm_api::Serving;

use crate::args::{Model, Serve};
use crate::failure::Failure;

/// Where the model comes from.
pub fn source(model: &Model) -> Source {
    if model.model == Path::new(BUILT_IN) {
        Source::BuiltIn
    } else {
        Source::File(model.model.clone())
    }
}

/// Name of a model for clients: the file's, without its ending.
pub fn id(model: &Model) -> String {
    let stem = model.model.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    stem.filter(|stem| !stem.is_empty()).unwrap_or_else(|| BUILT_IN.to_owned())
}

/// What will compute. What was asked for and cannot be had is an error, never something else in
/// its stead.
pub fn backend(args: &Serve) -> Result<Backend, Failure> {
    let backend = match args.backend {
        Choice::Auto => Backend::Cpu,
        Choice::Only(asked) => asked,
    };
    if !backend.is_built() {
        let message = format!("the backend {backend} is not in this build of llm-worker");
        return Err(Failure::new(ErrorCode::BackendNotBuilt, message));
    }
    let found: Vec<_> =
        backend::devices().into_iter().filter(|device| device.backend == backend).collect();
    if !found.iter().any(|device| device.index == args.device) {
        let error = backend::Error::NoDevice { backend, index: args.device, found: found.len() };
        return Err(Failure::of(ErrorCode::NoDevice, &error));
    }
    if let Choice::Only(engine) = args.engine
        && (!engine.is_built() || (engine == Engine::Native && backend != Backend::Cpu))
    {
        let message = format!("the engine {engine} on {backend} is not in this build");
        return Err(Failure::new(ErrorCode::BackendNotBuilt, message));
    }
    Ok(backend)
}

/// Loads the model, and starts the thread that runs it. Takes as long as that takes; tells how
/// far it is, 0 to 1.
pub fn load(args: &Serve, _progress: impl Fn(f32)) -> Result<Serving, Failure> {
    let message = format!("{:?} cannot be loaded yet: {:?}", source(&args.model), options(args));
    Err(Failure::new(ErrorCode::ModelUnsupported, message))
}

fn options(args: &Serve) -> LoadOptions {
    LoadOptions {
        slots: args.slots.into(),
        context: args.context.map(|tokens| usize::try_from(tokens).unwrap_or(usize::MAX)),
        kv_tokens: None,
        threads: args.threads.count(),
        isa: args.isa.into(),
    }
}
