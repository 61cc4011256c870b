//! What a file must say before anything of it is believed, and what is told when it does not.

use std::cell::RefCell;

use dialtone_contract::ErrorCode;
use dialtone_inference::Row;
use dialtone_inference::gguf::{Gguf, Type, Writer};
use dialtone_inference::load::{LoadError, LoadOptions, Source, inspect, load};
use dialtone_inference::model::{Error, Model, Options};
use dialtone_inference::synthetic::{Family, Synthetic, Types};

use crate::{ALONE, gguf};

const OPTIONS: LoadOptions =
    LoadOptions { slots: 2, context: None, kv_tokens: None, kv_bytes: None, threads: 1, isa: None };

fn small() -> Synthetic {
    Synthetic::small(Family::Llama, Types::all(Type::Q4_1), 9)
}

#[test]
fn a_file_is_loaded_with_all_that_belongs_to_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("some.gguf");
    small().to_file(&path).expect("a file");
    let source = Source::File(path);
    let told = RefCell::new(Vec::new());
    let mut loaded =
        load(&source, &OPTIONS, &|part| told.borrow_mut().push(part)).expect("a model");
    assert_eq!(loaded.info, inspect(&source).expect("its header"));
    assert_eq!((loaded.info.format.as_str(), loaded.info.vocab), ("Q4_1", 320));
    assert_eq!((loaded.info.context, loaded.info.architecture.as_str()), (512, "llama"));
    let told = told.into_inner();
    assert!(told.is_sorted() && told[0] == 0.0 && told[told.len() - 1] == 1.0);
    let tokens = loaded.tokenizer.encode("hello", false);
    loaded.decoder.open(0, &tokens, 20).expect("room");
    let mut logits = Vec::new();
    let row = Row { slot: 0, position: 0, token: tokens[0], logits: true };
    loaded.decoder.decode(&[row], &mut logits).expect("logits");
    assert_eq!(logits.len(), 320);
}

#[test]
fn the_built_in_model_is_always_there() {
    let mut loaded = load(&Source::BuiltIn, &OPTIONS, &|_| ()).expect("the built-in model");
    assert_eq!(loaded.info, inspect(&Source::BuiltIn).expect("its header"));
    assert!(loaded.decoder.open(0, &[1], 8).is_ok());
}

#[test]
fn each_thing_that_is_wrong_with_a_file_has_its_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = small().to_bytes().expect("a model");
    let renamed = |from: &str, to: &str| {
        let at = bytes.windows(from.len()).position(|part| part == from.as_bytes());
        let mut bytes = bytes.clone();
        bytes[at.expect("the text")..][..to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    let cases = [
        ("empty", Vec::new(), ErrorCode::ModelInvalid, "empty"),
        ("junk", b"<html>not found</html>".to_vec(), ErrorCode::ModelInvalid, "web page"),
        ("cut", bytes[..bytes.len() / 2].to_vec(), ErrorCode::ModelInvalid, "cut short"),
        ("stray", renamed("attn_q.weight", "attn_z.weight"), ErrorCode::ModelInvalid, "attn_q"),
    ];
    for (name, bytes, code, says) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        let error = load(&Source::File(path), &OPTIONS, &|_| ()).expect_err(name);
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(says) && error.to_string().contains(name), "{error}");
    }
    let missing = Source::File(folder.path().join("missing"));
    assert!(matches!(inspect(&missing), Err(LoadError::NotFound(_))));
    let error = inspect(&Source::File(folder.path().to_owned())).expect_err("a folder");
    assert_eq!(error.code(), ErrorCode::ModelInvalid, "{error}");
}

/// A header that says these things and has one tensor.
fn header(entries: &[(&str, u32)], architecture: &str) -> Gguf {
    let mut writer = Writer::new(3);
    writer.metadata("general.architecture", architecture);
    for (key, value) in entries {
        writer.metadata(&format!("{architecture}.{key}"), *value);
    }
    writer.tensor("token_embd.weight", Type::F32, &[32, 4]);
    let mut file = writer.begin(Vec::new()).expect("a header");
    file.write(&[0; 32 * 4 * 4]).expect("a tensor");
    let bytes = file.finish().expect("a file");
    Gguf::from_bytes(bytes).expect("a GGUF file")
}

#[test]
fn absurd_sizes_are_refused_by_their_key() {
    let right = [
        ("embedding_length", 32),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
        ("block_count", 1),
        ("feed_forward_length", 64),
        ("context_length", 64),
    ];
    let refused = |entries: &[(&str, u32)], architecture: &str| {
        let error = Model::load(&header(entries, architecture), &ALONE, &|_| ());
        error.map(|_| ()).expect_err("it is refused")
    };
    let error = refused(&right, "llama");
    assert!(error.to_string().contains("output_norm.weight"), "{error}");
    for (i, (key, _)) in right.iter().enumerate() {
        for value in [0, u32::MAX] {
            let mut entries = right;
            entries[i].1 = value;
            let error = refused(&entries, "llama");
            assert!(error.to_string().contains(key), "{key} = {value}: {error}");
        }
        if *key != "attention.head_count_kv" {
            let entries: Vec<_> = right.iter().filter(|entry| entry.0 != *key).copied().collect();
            let error = refused(&entries, "llama");
            assert!(error.to_string().contains(key), "no {key}: {error}");
        }
    }
    for (key, value, says) in [
        ("expert_count", 8, "experts"),
        ("attention.value_length", 8, "values of 8"),
        ("rope.dimension_count", 5, "rope.dimension_count"),
    ] {
        let mut entries = right.to_vec();
        entries.push((key, value));
        let error = refused(&entries, "llama");
        assert!(error.to_string().contains(says), "{error}");
    }
    let error = refused(&right, "gemma3");
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert!(error.to_string().contains("llama-cpp"), "{error}");
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    for ty in [Type::F32, Type::F16, Type::Bf16, Type::Q4_0, Type::Q8_0, Type::Q4K, Type::Q6K] {
        let synthetic = Synthetic::small(Family::Llama, Types::all(ty), 4);
        let mut bytes = synthetic.to_bytes().expect("a model");
        let file = Gguf::from_bytes(bytes.clone()).expect("a GGUF file");
        let tensor = file.tensor("blk.1.ffn_down.weight").expect("a tensor");
        let block = tensor.offset as usize + tensor.ty.block_bytes();
        let (at, value): (usize, &[u8]) = match tensor.ty {
            Type::F32 => (block, &[0, 0, 0xc0, 0x7f]),
            Type::Bf16 => (block, &[0x80, 0x7f]),
            Type::Q6K => (block + 208, &[0, 0x7c]),
            _ => (block, &[0, 0xfc]),
        };
        bytes[at..at + value.len()].copy_from_slice(value);
        let file = Gguf::from_bytes(bytes).expect("a GGUF file");
        let error = Model::load(&file, &ALONE, &|_| ()).map(|_| ()).expect_err("not finite");
        assert!(error.to_string().contains("blk.1.ffn_down.weight"), "{ty}: {error}");
    }
}

#[test]
fn what_the_machine_cannot_hold_is_refused_at_once() {
    let file = gguf(&small());
    let options = Options { kv_tokens: Some(1 << 40), ..ALONE };
    let error = Model::load(&file, &options, &|_| ()).map(|_| ()).expect_err("too much");
    assert!(matches!(error, Error::Memory { .. } | Error::Environment(_)), "{error}");
}
