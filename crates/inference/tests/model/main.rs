//! The model through its public interface: formats, goldens, loading, and what must never change
//! a result.

mod formats;
mod goldens;
mod invariance;
mod loading;
mod measure;

use dialtone_inference::gguf::Gguf;
use dialtone_inference::matrix::Isa;
use dialtone_inference::model::{Model, Options};
use dialtone_inference::synthetic::Synthetic;
use dialtone_inference::{Decoder, Row, Token};

/// One sequence on one thread, nothing remembered but its own.
const ALONE: Options =
    Options { slots: 1, context: None, kv_tokens: None, kv_bytes: None, threads: 1, isa: None };

/// The instruction sets of this processor.
fn available() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

fn gguf(synthetic: &Synthetic) -> Gguf {
    Gguf::from_bytes(synthetic.to_bytes().expect("a model")).expect("a GGUF file")
}

/// The logits after each of `tokens`, of a sequence that nothing is remembered of.
fn run(model: &mut Model, tokens: &[Token]) -> Vec<Vec<f32>> {
    let first = model.open(0, tokens, tokens.len()).expect("room for the text");
    assert_eq!(first, 0, "the text is run from its beginning");
    let row = |(position, &token)| Row { slot: 0, position, token, logits: true };
    let rows: Vec<Row> = tokens.iter().enumerate().map(row).collect();
    let mut logits = Vec::new();
    model.decode(&rows, &mut logits).expect("logits");
    model.close(0);
    logits.chunks_exact(model.shape().vocab).map(<[f32]>::to_vec).collect()
}
