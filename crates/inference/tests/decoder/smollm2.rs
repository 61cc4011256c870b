use std::path::PathBuf;

use dialtone_inference::{Row, Token};
use serde::Deserialize;

use crate::engines::with;

/// Of `tests/golden/smollm2.json`, what is needed here.
#[derive(Deserialize)]
struct Golden {
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    tokens: Vec<Token>,
    greedy: Greedy,
}

/// What llama.cpp goes on with, and by how much each token was ahead.
#[derive(Deserialize)]
struct Greedy {
    tokens: Vec<Token>,
    margins: Vec<f32>,
}

/// Ahead by more than this, in logits, a token is no near tie for any engine.
const CLEAR: f32 = 1.0;

/// Each token that llama.cpp chose clearly is also this engine's choice after the same tokens.
#[test]
fn the_next_token_is_the_same_where_it_is_clear() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../.test-models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !path.exists() {
        let required = std::env::var("DIALTONE_REQUIRE_MODELS").is_ok_and(|value| value == "1");
        assert!(!required, "{} is missing: cargo xtask model:fetch", path.display());
        eprintln!("SKIPPED: {} is missing (cargo xtask model:fetch)", path.display());
        return;
    }
    let golden: Golden =
        serde_json::from_str(include_str!("../golden/smollm2.json")).expect("the goldens");
    with(&path, &mut |mut engine| {
        let mut clear = 0;
        for Prompt { tokens, greedy } in &golden.prompts {
            let count = greedy.tokens.len().min(16);
            let mut text = tokens.clone();
            text.extend(&greedy.tokens[..count - 1]);
            let kept = engine.decoder.open(0, tokens, text.len()).expect("room");
            let rows: Vec<Row> = text
                .iter()
                .enumerate()
                .skip(kept)
                .map(|(position, &token)| Row {
                    slot: 0,
                    position,
                    token,
                    logits: position + 1 >= tokens.len(),
                })
                .collect();
            let mut logits = Vec::new();
            engine.decoder.decode(&rows, &mut logits).expect("it runs");
            engine.decoder.close(0);
            let vocab = engine.decoder.shape().vocab;
            for (at, logits) in logits.chunks(vocab).enumerate() {
                if greedy.margins[at] < CLEAR {
                    continue;
                }
                let best = (0..vocab).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
                assert_eq!(best, Some(greedy.tokens[at] as usize), "{}, {at}", engine.name);
                clear += 1;
            }
        }
        assert!(clear > 10, "{clear} clear tokens");
    });
}
