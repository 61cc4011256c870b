use dialtone_inference::{Row, Token};

use crate::engines::each;

/// A text of `count` tokens, the same for the same seed.
fn text(seed: u32, count: usize) -> Vec<Token> {
    (0..count as u32).map(|at| (seed + at * at * 7 + at) % 250).collect()
}

#[test]
fn a_prompt_in_pieces_is_the_same_prompt() {
    each(|mut engine| {
        let text = text(1, 70);
        let at_once = engine.alone(&text);
        for piece in [1, 13, 32] {
            engine.forget();
            engine.decoder.open(1, &text, text.len()).expect("room");
            let in_pieces = engine.run(1, 0, &text, piece);
            engine.decoder.close(1);
            engine.same(&at_once, &in_pieces, "in pieces");
        }
    });
}

#[test]
fn sequences_do_not_see_each_other() {
    each(|mut engine| {
        let texts = [text(1, 40), text(50, 33), text(90, 20)];
        let alone: Vec<Vec<f32>> = texts.iter().map(|text| engine.alone(text)).collect();
        engine.forget();
        let mut rows = Vec::new();
        for (slot, text) in texts.iter().enumerate() {
            engine.decoder.open(slot, text, 60).expect("room");
            rows.extend(text.iter().enumerate().map(|(position, &token)| Row {
                slot,
                position,
                token,
                logits: position + 1 == text.len(),
            }));
        }
        // The slots in turn, each one's rows in order.
        rows.sort_by_key(|row| row.position);
        let mut logits = Vec::new();
        engine.decoder.decode(&rows, &mut logits).expect("it runs");
        let wanted = rows.iter().filter(|row| row.logits);
        let vocab = engine.decoder.shape().vocab;
        assert_eq!(logits.len(), 3 * vocab);
        for (row, logits) in wanted.zip(logits.chunks(vocab)) {
            engine.same(&alone[row.slot], logits, "beside others");
        }
    });
}

#[test]
fn what_is_remembered_changes_nothing() {
    each(|mut engine| {
        let long = text(1, 100);
        let mut other = long[..80].to_vec();
        other.extend(text(200, 15));
        let alone = [engine.alone(&long), engine.alone(&other)];
        engine.forget();
        engine.decoder.open(0, &long, 120).expect("room");
        engine.run(0, 0, &long, 32);
        // Shared with a sequence that still runs.
        let kept = engine.decoder.open(1, &other, 120).expect("room");
        assert!(kept >= 64, "{}: {kept} of 80 tokens are shared", engine.name);
        let logits = engine.run(1, kept, &other, 32);
        engine.same(&alone[1], &logits, "after a shared beginning");
        engine.decoder.close(0);
        // Its own from before: all but the last token at most.
        let kept = engine.decoder.open(0, &long, 120).expect("room");
        assert!((64..100).contains(&kept), "{}: {kept} of 100 are remembered", engine.name);
        let logits = engine.run(0, kept, &long, 32);
        engine.same(&alone[0], &logits, "after a remembered beginning");
        engine.decoder.close(0);
        engine.decoder.close(1);
        // What one sequence shared is still right after the other was forgotten.
        let kept = engine.decoder.open(2, &other, 120).expect("room");
        let logits = engine.run(2, kept, &other, 32);
        engine.same(&alone[1], &logits, "in a third slot");
    });
}
