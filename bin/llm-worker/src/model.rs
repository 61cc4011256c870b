use std::path::Path;
use std::sync::Arc;

use dialtone_contract::ErrorCode;
use dialtone_inference::backend::{self, Chosen, Wanted};
use dialtone_inference::engine;
use dialtone_inference::load::{self, BUILT_IN, LoadOptions, Loaded, Source};
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
pub fn chosen(args: &Serve) -> Result<Chosen, Failure> {
    let wanted = Wanted { backend: args.backend, engine: args.engine, device: args.device };
    backend::choose(&wanted, load::is_native(&source(&args.model))).map_err(|error| {
        let code = match error {
            backend::Error::NotBuilt { .. } => ErrorCode::BackendNotBuilt,
            backend::Error::NoDevice { .. } => ErrorCode::NoDevice,
            backend::Error::NotWith { .. } | backend::Error::Unknown { .. } => ErrorCode::Usage,
        };
        Failure::of(code, &error)
    })
}

/// Loads the model, and starts the thread that runs it. Takes as long as that takes; tells how
/// far it is, 0 to 1.
pub fn load(args: &Serve, progress: impl Fn(f32)) -> Result<Serving, Failure> {
    let chosen = chosen(args)?;
    let loaded = load::load_on(&source(&args.model), &options(args), &chosen, &progress)
        .map_err(|error| Failure::of(error.code(), &error))?;
    let Loaded { decoder, tokenizer, template, info, device } = loaded;
    let (asked, context) = (options(args).context, decoder.shape().context);
    if let Some(asked) = asked.filter(|asked| *asked > context) {
        tracing::warn!(asked, context, "the model has no context as long as --context asks for");
    }
    let slots = usize::from(args.slots);
    let queue = args.queue.map_or(slots, usize::from);
    let pace = engine::Options { queue, ..engine::Options::for_slots(slots) };
    let engine = engine::Engine::start(decoder, Arc::clone(&tokenizer), pace);
    Ok(Serving { engine, tokenizer, template, info, device })
}

fn options(args: &Serve) -> LoadOptions {
    const MIB: usize = 1 << 20;
    let wide = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    LoadOptions {
        slots: args.slots.into(),
        context: args.context.map(wide),
        kv_tokens: None,
        kv_bytes: args.kv_mib.map(|mib| wide(mib).saturating_mul(MIB)),
        threads: args.threads.count(),
        isa: args.isa.into(),
    }
}
