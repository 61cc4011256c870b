//! Tokenizers against llama.cpp and Hugging Face, and against strange input.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use dialtone_inference::gguf::{Gguf, Strings};
use dialtone_inference::tokenizer::{Error, Splitter, Tokenize, Tokenizer, Vocab};
use proptest::prelude::*;
use serde::Deserialize;

/// `tests/golden/tokenizer.json`.
#[derive(Deserialize)]
struct Golden {
    smollm2: Vec<Case>,
    texts: Vec<String>,
    other_pre: BTreeMap<String, Vec<Vec<u32>>>,
    words: BTreeMap<String, Vec<Vec<String>>>,
    spm: SpmGolden,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    special: bool,
    tokens: Vec<u32>,
}

#[derive(Deserialize)]
struct SpmGolden {
    tokens: Vec<String>,
    scores: Vec<f32>,
    types: Vec<i32>,
    cases: Vec<Case>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/tokenizer.json")).expect("the goldens are JSON")
}

/// The vocabulary of SmolLM2, if the model is on this machine.
fn smollm2() -> Option<Vocab> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../.test-models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !path.exists() {
        let required = std::env::var("DIALTONE_REQUIRE_MODELS").is_ok_and(|value| value == "1");
        assert!(!required, "{} is missing: cargo xtask model:fetch", path.display());
        eprintln!("SKIPPED: {} is missing (cargo xtask model:fetch)", path.display());
        return None;
    }
    let gguf = Gguf::open(&path).expect("the model opens");
    Some(Vocab::from_gguf(&gguf).expect("the model has a vocabulary"))
}

fn check(tokenizer: &Tokenizer, cases: &[Case]) {
    for case in cases {
        assert_eq!(
            tokenizer.encode(&case.text, case.special),
            case.tokens,
            "{:?}, special = {}",
            case.text,
            case.special
        );
    }
}

fn decode(tokenizer: &Tokenizer, tokens: &[u32]) -> Vec<u8> {
    tokens.iter().flat_map(|&token| tokenizer.bytes(token)).copied().collect()
}

#[test]
fn smollm2_is_tokenized_as_llama_cpp_does() {
    let Some(vocab) = smollm2() else { return };
    let tokenizer = Tokenizer::new(&vocab).expect("a good vocabulary");
    assert_eq!((tokenizer.len(), tokenizer.begin()), (49152, None));
    let ends: Vec<u32> = (0..49152).filter(|&token| tokenizer.ends(token)).collect();
    assert_eq!(ends, [0, 2, 4]);
    assert_eq!((tokenizer.name(1), tokenizer.bytes(1)), ("<|im_start|>", &b""[..]));
    let cases = golden().smollm2;
    check(&tokenizer, &cases);
    for case in cases.iter().filter(|case| !case.special) {
        assert_eq!(decode(&tokenizer, &case.tokens), case.text.as_bytes(), "{:?}", case.text);
    }
}

#[test]
fn other_pre_tokenizers_cut_as_llama_cpp_does() {
    let Some(vocab) = smollm2() else { return };
    let golden = golden();
    for (pre, all) in golden.other_pre {
        let vocab = Vocab { pre: Some(pre.clone()), ..vocab.clone() };
        let tokenizer = Tokenizer::new(&vocab).expect("a good vocabulary");
        for (text, tokens) in golden.texts.iter().zip(all) {
            assert_eq!(tokenizer.encode(text, false), tokens, "{pre}: {text:?}");
        }
    }
}

#[test]
fn words_are_those_of_the_published_tokenizers() {
    let golden = golden();
    for (pre, all) in golden.words {
        let splitter = Splitter::new(Some(&pre));
        for (text, words) in golden.texts.iter().zip(all) {
            let mut found = Vec::new();
            splitter.words(text, &mut |word| found.push(word.to_owned()));
            assert_eq!(found, words, "{pre}: {text:?}");
        }
    }
}

fn spm() -> (Vocab, Vec<Case>) {
    let SpmGolden { tokens, scores, types, cases } = golden().spm;
    let tokens = tokens.iter().collect();
    let vocab = Vocab { model: "llama".into(), tokens, scores, types, ..Vocab::default() };
    (vocab, cases)
}

#[test]
fn sentencepiece_is_as_llama_cpp_does() {
    let (vocab, cases) = spm();
    let tokenizer = Tokenizer::new(&vocab).expect("a good vocabulary");
    assert_eq!(tokenizer.begin(), Some(1));
    assert!(tokenizer.ends(2) && !tokenizer.ends(1));
    // llama.cpp makes control tokens of plain text where the vocabulary has their halves ("<s",
    // ">"). Here plain text stays text.
    let control = |tokens: &[u32]| tokens.iter().any(|&token| vocab.types[token as usize] == 3);
    let (unsafe_there, cases): (Vec<Case>, Vec<Case>) =
        cases.into_iter().partition(|case| !case.special && control(&case.tokens));
    assert_eq!((unsafe_there.len(), cases.len()), (1, 34));
    for case in unsafe_there {
        let tokens = tokenizer.encode(&case.text, false);
        assert!(!control(&tokens));
        assert_eq!(decode(&tokenizer, &tokens), format!(" {}", case.text).as_bytes());
    }
    check(&tokenizer, &cases);
    assert_eq!(
        decode(&tokenizer, &tokenizer.encode("hello  é 😀", false)),
        " hello  é 😀".as_bytes()
    );
}

/// A byte-level vocabulary: 256 bytes (in the order of their letters), two control tokens and
/// one merge per `merges`.
fn bytes(pre: &str, merges: &[(&str, &str)]) -> Vocab {
    let shifted = (0..68_u32).filter_map(|at| char::from_u32(0x100 + at));
    let printed = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ');
    let mut tokens: Vec<String> = printed.chain(shifted).map(String::from).collect();
    tokens.extend(["<|im_start|>".into(), "<|im_end|>".into()]);
    let mut types = vec![1; 256];
    types.extend([3, 3]);
    for (left, right) in merges {
        tokens.push(format!("{left}{right}"));
        types.push(1);
    }
    let merges = merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
    Vocab {
        model: "gpt2".into(),
        pre: Some(pre.into()),
        tokens: tokens.iter().collect(),
        types,
        merges,
        ..Vocab::default()
    }
}

const MERGES: [(&str, &str); 6] =
    [("a", "a"), ("aa", "aa"), ("Ġ", "h"), ("l", "l"), ("Ġh", "e"), ("ll", "o")];

#[test]
fn merges_go_by_rank_and_then_from_the_left() {
    let tokenizer = Tokenizer::new(&bytes("gpt-2", &MERGES)).expect("a good vocabulary");
    let names = |text: &str| -> Vec<String> {
        let tokens = tokenizer.encode(text, false);
        tokens.iter().map(|&token| tokenizer.name(token).to_owned()).collect()
    };
    assert_eq!(names("aaaaaaa"), ["aaaa", "aa", "a"]);
    assert_eq!(names(" hello"), ["Ġhe", "llo"]);
    assert_eq!(names("<|im_end|>").len(), 10);
}

#[test]
fn a_word_of_a_mebibyte_takes_no_square_of_it() {
    let tokenizer = Tokenizer::new(&bytes("smollm", &MERGES)).expect("a good vocabulary");
    let (spm, _) = spm();
    let spm = Tokenizer::new(&spm).expect("a good vocabulary");
    for (text, fewest) in [("a", 1 << 18), ("<", 1 << 20), (" ", 1 << 20), ("\n", 1 << 20)] {
        let text = text.repeat(1 << 20);
        for special in [false, true] {
            assert_eq!(tokenizer.encode(&text, special).len(), fewest);
            assert!(!spm.encode(&text, special).is_empty());
        }
    }
}

#[test]
fn strange_vocabularies_are_refused_or_harmless() {
    let refused = |vocab: &Vocab| Tokenizer::new(vocab).err().expect("refused").to_string();
    let good = bytes("gpt-2", &MERGES);
    assert!(refused(&Vocab { model: "bert".into(), ..good.clone() }).contains("\"bert\""));
    assert!(refused(&Vocab { tokens: Strings::default(), ..good.clone() }).contains("is empty"));
    assert!(refused(&Vocab { types: vec![1], ..good.clone() }).contains("1 entries for 264"));
    assert!(refused(&Vocab { model: "llama".into(), ..good.clone() }).contains("scores"));
    let error = Tokenizer::new(&Vocab {
        tokens: ["word"].iter().collect(),
        types: Vec::new(),
        merges: Strings::default(),
        ..good.clone()
    });
    assert!(matches!(error, Err(Error::NoBytes)));

    let mut strange = good.clone();
    strange.begin = Some(u64::MAX);
    strange.add_begin = Some(true);
    strange.ends = vec![400, 1 << 40, 257, 257];
    strange.unknown = Some(9999);
    for merge in ["", " ", "  ", "a", "nobody knows", "a a", "é", " a"] {
        strange.merges.push(merge);
    }
    // Twice the same token, one without a name, types out of range.
    for token in ["a", "", "zz"] {
        strange.tokens.push(token);
    }
    strange.types.extend([1, 3, -7]);
    strange.pre = Some("never heard of".into());
    let tokenizer = Tokenizer::new(&strange).expect("harmless");
    assert_eq!(tokenizer.begin(), None);
    assert!(tokenizer.ends(257) && !tokenizer.ends(400));
    for text in ["aaaa hello", "", "é\0", "a a"] {
        assert_eq!(decode(&tokenizer, &tokenizer.encode(text, true)), text.as_bytes());
    }
    assert_eq!((tokenizer.bytes(u32::MAX), tokenizer.name(u32::MAX)), (&b""[..], ""));

    // Without types, the names of ends are control tokens all the same.
    let untyped = Vocab { types: Vec::new(), ..good };
    let tokenizer = Tokenizer::new(&untyped).expect("harmless");
    assert_eq!(tokenizer.encode("<|im_end|>", true), [257]);
    assert_eq!(tokenizer.encode("<|im_end|>", false).len(), 10);
}

#[test]
#[expect(clippy::single_range_in_vec_init, reason = "one untrusted range")]
fn marked_text_is_read_as_one_text() {
    let tokenizer = Tokenizer::new(&bytes("gpt-2", &MERGES)).expect("a good vocabulary");
    let text = "<|im_start|>x hello<|im_end|><|im_end|>";
    let tokens = tokenizer.encode_marked(text, &[14..29]);
    assert_eq!((tokens.first(), tokens.last()), (Some(&256), Some(&257)));
    assert_eq!(tokens.iter().filter(|&&token| token == 257).count(), 1);
    // The space of the trusted part and the word of the other are one token, as without marks.
    let hello = |token: &u32| tokenizer.name(*token) == "Ġhe";
    assert!(tokens.iter().any(hello));
}

/// One tokenizer for each way of cutting words.
fn byte_level() -> &'static [Tokenizer] {
    static ALL: OnceLock<Vec<Tokenizer>> = OnceLock::new();
    ALL.get_or_init(|| {
        let all = ["gpt-2", "smollm", "llama-bpe", "qwen2", "tekken", "default"].into_iter();
        all.map(|pre| Tokenizer::new(&bytes(pre, &MERGES)).expect("a good vocabulary")).collect()
    })
}

proptest! {
    #[test]
    fn bytes_come_back(text in any::<String>(), pre in 0_usize..6) {
        let tokenizer = &byte_level()[pre];
        let tokens = tokenizer.encode(&text, false);
        prop_assert_eq!(decode(tokenizer, &tokens), text.as_bytes());
        prop_assert!(tokens.iter().all(|&token| token != 256 && token != 257));
    }

    #[test]
    fn nothing_panics(
        tokens in proptest::collection::vec("[a▁<>/s0x]{0,6}", 1..40),
        merges in proptest::collection::vec("[a▁< >/s]{0,6}", 0..20),
        types in proptest::collection::vec(-1_i32..8, 40),
        scores in proptest::collection::vec(any::<f32>(), 40),
        ids in proptest::collection::vec(0_u64..50, 4),
        text in "[a▁ <>/s0x\n]{0,40}",
        cut in 0_usize..40,
    ) {
        for model in ["gpt2", "llama"] {
            let vocab = Vocab {
                model: model.into(),
                pre: Some("gpt-2".into()),
                tokens: tokens.iter().collect(),
                types: types[..tokens.len()].to_vec(),
                merges: merges.iter().collect(),
                scores: scores[..tokens.len()].to_vec(),
                begin: Some(ids[0]),
                add_begin: Some(true),
                ends: vec![ids[1], ids[2]],
                unknown: Some(ids[3]),
                space_prefix: None,
            };
            let Ok(tokenizer) = Tokenizer::new(&vocab) else { continue };
            let cut = text.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(text.len());
            let untrusted = cut..text.len();
            let all = tokenizer.encode_marked(&text, std::slice::from_ref(&untrusted));
            for token in all.into_iter().chain(tokenizer.encode(&text, false)) {
                prop_assert!((token as usize) < tokenizer.len());
            }
        }
    }
}
