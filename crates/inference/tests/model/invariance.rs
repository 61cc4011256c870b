//! What must not change a single bit of a row's logits: threads, chunks, companions, what was
//! remembered, what was given up, and the instruction set.

use std::collections::HashMap;

use dialtone_inference::gguf::{Gguf, Type};
use dialtone_inference::model::{Model, Options};
use dialtone_inference::synthetic::{Family, Synthetic, Types};
use dialtone_inference::{DecodeError, Decoder, Row, Token};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{ALONE, available, gguf, run};

/// Steps of one run of chance.
const STEPS: usize = 40;

/// Small enough that plain Rust runs it often.
fn small(family: Family, types: Types, seed: u64) -> Synthetic {
    let (embed, heads, kv_heads, ffn) = (64, 4, 2, 96);
    Synthetic { embed, heads, kv_heads, ffn, ..Synthetic::small(family, types, seed) }
}

/// Texts that begin alike for a while, some to the middle of a page, some to its end.
fn texts() -> Vec<Vec<Token>> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut texts: Vec<Vec<Token>> = vec![Vec::new()];
    for (from, keep, len) in [
        (0, 0, 150),
        (1, 64, 140),
        (1, 75, 90),
        (2, 100, 131),
        (3, 20, 64),
        (0, 0, 33),
        (1, 149, 170),
    ] {
        let mut text: Vec<Token> = texts[from][..keep].to_vec();
        text.extend((keep..len).map(|_| rng.random_range(0..250u32)));
        texts.push(text);
    }
    texts.remove(0);
    texts
}

/// The logits that follow every beginning of every text, each text run alone and cold.
struct Known(HashMap<Vec<Token>, Vec<f32>>);

impl Known {
    fn new(gguf: &Gguf, texts: &[Vec<Token>]) -> Self {
        let mut known = HashMap::new();
        for text in texts {
            let mut model = Model::load(gguf, &ALONE, &|_| ()).expect("a model");
            for (at, logits) in run(&mut model, text).into_iter().enumerate() {
                let before = known.insert(text[..=at].to_vec(), logits.clone());
                assert!(before.is_none_or(|before| before == logits), "a text tells its rest");
            }
        }
        Self(known)
    }

    fn hold(&self, text: &[Token], logits: &[f32], what: &str) {
        assert!(self.0[text] == logits, "{what}: other bits after {} tokens", text.len());
    }
}

/// One sequence that runs.
struct Running {
    text: Vec<Token>,
    at: usize,
}

/// Opens, runs and closes sequences as chance has it, and holds every row of logits against what
/// is known. Returns tokens that were found remembered, and openings that found no room.
fn shuffle(model: &mut Model, texts: &[Vec<Token>], known: &Known, seed: u64) -> (usize, usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (vocab, slots) = (model.shape().vocab, model.shape().slots);
    let mut running: Vec<Option<Running>> = (0..slots).map(|_| None).collect();
    let (mut remembered, mut refused) = (0, 0);
    for _ in 0..STEPS {
        for (slot, running) in running.iter_mut().enumerate() {
            if running.is_none() && rng.random_range(0..3) > 0 {
                let text = texts[rng.random_range(0..texts.len())].clone();
                let prompt = rng.random_range(1..=text.len());
                match model.open(slot, &text[..prompt], text.len()) {
                    Ok(at) => {
                        remembered += at;
                        *running = Some(Running { text, at });
                    }
                    Err(DecodeError::NoRoom { .. }) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            } else if running.is_some() && rng.random_range(0..12) == 0 {
                *running = None;
                model.close(slot);
            }
        }
        let mut rows: Vec<Row> = Vec::new();
        for (slot, running) in running.iter().enumerate() {
            let Some(running) = running else { continue };
            let left = running.text.len() - running.at;
            let most = [1, 3, 40, 170][rng.random_range(0..4usize)];
            for i in 0..left.min(most) {
                let position = running.at + i;
                let logits = rng.random_range(0..2) == 0;
                rows.push(Row { slot, position, token: running.text[position], logits });
            }
        }
        // Sequences interleaved: rows of one stay in order.
        let mut mixed = Vec::with_capacity(rows.len());
        while !rows.is_empty() {
            let slot = rows[rng.random_range(0..rows.len())].slot;
            let first = rows.iter().position(|row| row.slot == slot).expect("a row of the slot");
            mixed.push(rows.remove(first));
        }
        let mut logits = Vec::new();
        model.decode(&mixed, &mut logits).expect("logits");
        let mut found = logits.chunks_exact(vocab);
        for row in &mixed {
            let Some(sequence) = &mut running[row.slot] else { continue };
            sequence.at = row.position + 1;
            if row.logits {
                let found = found.next().expect("a row of logits");
                known.hold(&sequence.text[..=row.position], found, &format!("seed {seed}"));
            }
        }
        assert!(found.next().is_none());
        for (slot, running) in running.iter_mut().enumerate() {
            if running.as_ref().is_some_and(|running| running.at == running.text.len()) {
                *running = None;
                model.close(slot);
            }
        }
        let kv = model.kv();
        assert!(kv.used + kv.cached <= kv.total);
    }
    (remembered, refused)
}

#[test]
fn nothing_but_the_text_before_decides_a_row() {
    let texts = texts();
    let mixes = [
        small(Family::Llama, Types::all(Type::Q4_1), 1),
        small(Family::Llama, Types::all(Type::F16), 2),
        Synthetic { ffn: 256, layers: 1, ..Synthetic::small(Family::Qwen2, Types::q4_k_m(), 3) },
    ];
    for synthetic in &mixes {
        let gguf = gguf(synthetic);
        // Known by the best instruction set; all others must give the same bits.
        let known = Known::new(&gguf, &texts);
        let (mut remembered, mut refused) = (0, 0);
        for isa in available() {
            for (threads, pages) in [(1, 12), (2, 9), (4, 40)] {
                let options = Options {
                    slots: 3,
                    context: None,
                    kv_tokens: Some(pages * 32),
                    kv_bytes: None,
                    threads,
                    isa: Some(isa),
                };
                let mut model = Model::load(&gguf, &options, &|_| ()).expect("a model");
                let counts = shuffle(&mut model, &texts, &known, threads as u64 * 100);
                (remembered, refused) = (remembered + counts.0, refused + counts.1);
            }
        }
        assert!(remembered > 500 && refused > 0, "{remembered} {refused}: it tested too little");
    }
}

#[test]
fn a_remembered_beginning_saves_all_but_the_last_token() {
    let texts = texts();
    let gguf = gguf(&small(Family::Llama, Types::all(Type::Q8_0), 5));
    let known = Known::new(&gguf, &texts);
    let mut model = Model::load(&gguf, &Options { slots: 2, ..ALONE }, &|_| ()).expect("a model");
    let text = &texts[0][..64];
    run(&mut model, text);
    let cached = model.open(1, text, 80).expect("room");
    assert_eq!(cached, 63);
    let mut logits = Vec::new();
    let row = Row { slot: 1, position: 63, token: text[63], logits: true };
    model.decode(&[row], &mut logits).expect("logits");
    known.hold(text, &logits, "remembered");
}

#[test]
fn rows_that_break_the_rules_are_refused_and_change_nothing() {
    let gguf = gguf(&small(Family::Llama, Types::all(Type::Q4_0), 5));
    let mut model = Model::load(&gguf, &ALONE, &|_| ()).expect("a model");
    let vocab = model.shape().vocab as Token;
    let row = |slot, position, token| Row { slot, position, token, logits: true };
    let mut logits = Vec::new();
    let mut refused = |model: &mut Model, rows: &[Row]| {
        let answer = model.decode(rows, &mut logits);
        assert!(matches!(answer, Err(DecodeError::Failed(_))), "{rows:?}");
        assert!(logits.is_empty());
    };
    refused(&mut model, &[row(0, 0, 1)]);
    model.open(0, &[1, 2, 3], 3).expect("room");
    for rows in [
        vec![row(1, 0, 1)],
        vec![row(0, 1, 1)],
        vec![row(0, 0, 1), row(0, 2, 1)],
        vec![row(0, 0, vocab)],
        (0..33).map(|at| row(0, at, 1)).collect(),
    ] {
        refused(&mut model, &rows);
    }
    let context = model.shape().context;
    assert!(matches!(model.open(0, &[1], context + 1), Err(DecodeError::Failed(_))));
    model.decode(&[row(0, 0, 1), row(0, 1, 2), row(0, 2, 3)], &mut logits).expect("logits");
    assert_eq!(logits.len(), 3 * vocab as usize);
    model.decode(&[], &mut logits).expect("no rows are no work");
}
