use std::path::Path;

use dialtone_inference::gguf::{Gguf, Type};
use dialtone_inference::model::{Model, Options};
use dialtone_inference::synthetic::{Family, Synthetic, Types};

use super::Engine;

/// Room for the sequences of the tests.
pub const SLOTS: usize = 3;
/// Tokens of the longest sequence.
pub const CONTEXT: usize = 256;
/// Tokens in all.
pub const TOTAL: usize = 3 * CONTEXT;

/// Each engine in this build, with a model of random weights.
pub fn each(mut test: impl FnMut(Engine)) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("random.gguf");
    let model = Synthetic::small(Family::Llama, Types::all(Type::Q8_0), 7);
    model.to_file(&path).expect("a model");
    with(&path, &mut test);
}

/// Each engine in this build, with the model at `path`.
pub fn with(path: &Path, test: &mut dyn FnMut(Engine)) {
    test(native(path));
    #[cfg(feature = "llama-cpp")]
    test(llama_cpp(path));
}

fn native(path: &Path) -> Engine {
    let options = Options {
        slots: SLOTS,
        context: Some(CONTEXT),
        kv_tokens: Some(TOTAL),
        kv_bytes: None,
        threads: 1,
        isa: None,
    };
    let gguf = Gguf::open(path).expect("a GGUF file");
    let model = Model::load(&gguf, &options, &|_| ()).expect("the native engine loads it");
    Engine { name: "native", decoder: Box::new(model), exact: true }
}

#[cfg(feature = "llama-cpp")]
fn llama_cpp(path: &Path) -> Engine {
    use dialtone_inference::backend::{Choice, Engine as Code, Wanted, choose};
    use dialtone_inference::load::LoadOptions;

    let backend = Choice::Only(dialtone_inference::backend::Backend::Cpu);
    let wanted = Wanted { backend, engine: Choice::Only(Code::LlamaCpp), device: 0 };
    let chosen = choose(&wanted, true).expect("it is built in");
    let options = LoadOptions {
        slots: SLOTS,
        context: Some(CONTEXT),
        kv_tokens: Some(TOTAL),
        kv_bytes: None,
        threads: 1,
        isa: None,
    };
    let model = dialtone_inference::llama_cpp::load(path, &options, &chosen.device, &|_| ());
    Engine { name: "llama.cpp", decoder: model.expect("llama.cpp loads it").decoder, exact: false }
}
