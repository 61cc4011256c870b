//! llama.cpp as an engine, in builds that have it: loading, and its tokenizer beside ours.
#![cfg(feature = "llama-cpp")]

use std::path::{Path, PathBuf};

use dialtone_inference::backend::{Backend, Choice, Engine, Wanted, choose};
use dialtone_inference::gguf::{Gguf, Type};
use dialtone_inference::llama_cpp::{Error, Model, load};
use dialtone_inference::load::LoadOptions;
use dialtone_inference::synthetic::{Family, Synthetic, Types};
use dialtone_inference::tokenizer::{Tokenize, from_gguf};
use serde::Deserialize;

fn on_cpu(path: &Path) -> Result<Model, Error> {
    let wanted = Wanted {
        backend: Choice::Only(Backend::Cpu),
        engine: Choice::Only(Engine::LlamaCpp),
        device: 0,
    };
    let chosen = choose(&wanted, true).expect("it is built in");
    let options = LoadOptions {
        slots: 2,
        context: Some(128),
        kv_tokens: None,
        kv_bytes: None,
        threads: 1,
        isa: None,
    };
    load(path, &options, &chosen.device, &|_| ())
}

/// That both tokenizers say the same of texts, and of every token.
fn agree(ours: &dyn Tokenize, theirs: &dyn Tokenize, texts: &[String]) {
    assert_eq!((ours.len(), ours.begin()), (theirs.len(), theirs.begin()));
    for token in 0..ours.len() as u32 {
        assert_eq!(ours.ends(token), theirs.ends(token), "{}", ours.name(token));
        assert_eq!(ours.bytes(token), theirs.bytes(token), "{}", ours.name(token));
        assert_eq!(ours.name(token), theirs.name(token));
    }
    for text in texts {
        assert_eq!(ours.encode(text, false), theirs.encode(text, false), "{text:?}");
        assert_eq!(ours.encode(text, true), theirs.encode(text, true), "{text:?}");
        let half = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
        let rest = half..text.len();
        let untrusted = std::slice::from_ref(&rest);
        let marked = (ours.encode_marked(text, untrusted), theirs.encode_marked(text, untrusted));
        assert_eq!(marked.0, marked.1, "{text:?} from {half}");
    }
}

/// Texts of `tests/golden/tokenizer.json`.
#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
}

fn texts() -> Vec<String> {
    let golden: Golden =
        serde_json::from_str(include_str!("golden/tokenizer.json")).expect("the goldens");
    golden.texts
}

#[test]
fn both_tokenizers_agree() {
    let smollm2 = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../.test-models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let folder = tempfile::tempdir().expect("a folder");
    let random = folder.path().join("random.gguf");
    Synthetic::small(Family::Qwen2, Types::all(Type::Q8_0), 3).to_file(&random).expect("a model");
    let mut paths = vec![random];
    if smollm2.exists() {
        paths.push(smollm2);
    } else {
        let required = std::env::var("DIALTONE_REQUIRE_MODELS").is_ok_and(|value| value == "1");
        assert!(!required, "{} is missing: cargo xtask model:fetch", smollm2.display());
        eprintln!("SKIPPED: {} is missing (cargo xtask model:fetch)", smollm2.display());
    }
    for path in paths {
        let ours = from_gguf(&Gguf::open(&path).expect("a GGUF file")).expect("a vocabulary");
        let theirs = on_cpu(&path).expect("llama.cpp loads it");
        assert!(theirs.device.starts_with("llama.cpp cpu"), "{}", theirs.device);
        agree(&*ours, &*theirs.tokenizer, &texts());
    }
}

#[test]
fn what_cannot_be_loaded_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let junk = folder.path().join("junk.gguf");
    std::fs::write(&junk, b"GGUF and nothing else").expect("a file");
    for path in [junk, folder.path().join("missing.gguf"), folder.path().to_owned()] {
        let error = on_cpu(&path).err().expect("it is no model");
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    }
}
