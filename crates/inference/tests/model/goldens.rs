//! The model against what llama.cpp and a float reference computed for the same file
//! (`golden/README.md`).

use std::path::{Path, PathBuf};

use dialtone_inference::Token;
use dialtone_inference::gguf::Gguf;
use dialtone_inference::matrix::Isa;
use dialtone_inference::model::{Model, Options};
use serde::Deserialize;

use crate::measure::{correlation, distance, wide};
use crate::{ALONE, available, run};

/// Logits that the float reference has at most this close may be told apart wrongly by rounding.
const CLEAR: f32 = 1.0;

#[derive(Deserialize)]
struct Golden {
    vocab: usize,
    stride: usize,
    prompts: Vec<Prompt>,
    #[serde(skip)]
    values: Vec<f32>,
}

#[derive(Deserialize)]
struct Prompt {
    name: String,
    tokens: Vec<Token>,
    positions: Vec<Position>,
    greedy: Greedy,
}

#[derive(Deserialize)]
struct Position {
    at: usize,
    offset: usize,
    top: Vec<usize>,
}

#[derive(Deserialize)]
struct Greedy {
    tokens: Vec<Token>,
    reference_tokens: Vec<Token>,
    reference_margins: Vec<f32>,
}

/// One row of logits as the three have it, at the places that the golden keeps.
struct Compared {
    ours: Vec<f64>,
    llama: Vec<f64>,
    float: Vec<f64>,
}

impl Golden {
    fn read(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let text = std::fs::read(folder.join(format!("{name}.json"))).expect("a golden");
        let mut golden: Self = serde_json::from_slice(&text).expect("a golden's JSON");
        let bytes = std::fs::read(folder.join(format!("{name}.f32"))).expect("a golden's values");
        let values = bytes.as_chunks::<4>().0;
        golden.values = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        golden
    }

    fn compared(&self, position: &Position, logits: &[f32]) -> Compared {
        let (strided, top) = (self.vocab.div_ceil(self.stride), position.top.len());
        let places = (0..self.vocab).step_by(self.stride).chain(position.top.iter().copied());
        let stored = |row: usize| {
            let start = position.offset + row * (strided + top);
            wide(&self.values[start..start + strided + top])
        };
        let ours = places.map(|place| f64::from(logits[place])).collect();
        Compared { ours, llama: stored(0), float: stored(1) }
    }
}

fn best(logits: &[f32]) -> Token {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(token, _)| token as Token)
}

fn hold_against(name: &str, gguf: &Gguf, isa: Isa) {
    let golden = Golden::read(name);
    let options = Options { isa: Some(isa), ..ALONE };
    let (mut ours, mut llamas, mut rows, mut compared, mut clear) = (0.0, 0.0, 0, 0, 0);
    for prompt in &golden.prompts {
        // A model of its own, so that nothing is remembered from another text.
        let mut model = Model::load(gguf, &options, &|_| ()).expect("a model");
        let greedy = &prompt.greedy;
        let mut tokens = prompt.tokens.clone();
        tokens.extend(&greedy.tokens);
        let logits = run(&mut model, &tokens);
        for position in &prompt.positions {
            let row = golden.compared(position, &logits[position.at]);
            let found = correlation(&row.ours, &row.llama);
            assert!(found >= 0.998, "{name} {isa}, {:?} at {}: {found}", prompt.name, position.at);
            ours += distance(&row.ours, &row.float).powi(2);
            llamas += distance(&row.llama, &row.float).powi(2);
            rows += 1;
        }
        let choices = greedy.reference_tokens.iter().zip(&greedy.reference_margins);
        for (i, (&choice, &margin)) in choices.enumerate() {
            compared += 1;
            if margin > CLEAR {
                clear += 1;
                let found = best(&logits[prompt.tokens.len() - 1 + i]);
                assert_eq!(found, choice, "{name} {isa}, {:?}, {i} tokens on", prompt.name);
            }
        }
    }
    let (ours, llamas) = ((ours / f64::from(rows)).sqrt(), (llamas / f64::from(rows)).sqrt());
    println!(
        "{name} {isa}: error {ours:.4}, of llama.cpp {llamas:.4}; {clear} of {compared} clear"
    );
    assert!(clear * 3 > compared, "too few clear choices say little");
    assert!(ours <= llamas, "{name} {isa}: error {ours}, of llama.cpp {llamas}");
}

#[test]
fn the_tiny_model_is_at_least_as_near_to_the_float_reference_as_llama_cpp() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.test-models/tiny.gguf");
    let gguf = Gguf::open(&path).expect("the model is part of the repository");
    for isa in available() {
        hold_against("tiny", &gguf, isa);
    }
}

#[test]
fn smollm2_is_at_least_as_near_to_the_float_reference_as_llama_cpp() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.test-models");
    let path: PathBuf = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    if !path.exists() {
        assert!(
            std::env::var_os("DIALTONE_REQUIRE_MODELS").is_none(),
            "{} is missing: cargo xtask model:fetch",
            path.display()
        );
        eprintln!("SKIPPED: {} is missing (cargo xtask model:fetch)", path.display());
        return;
    }
    let gguf = Gguf::open(&path).expect("a GGUF file");
    // Plain Rust takes minutes for it; that it gives the same bits is tested on small models.
    for isa in available().filter(|&isa| isa != Isa::Scalar) {
        hold_against("smollm2", &gguf, isa);
    }
}
