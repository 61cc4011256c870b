//! What every decoder must do, whichever engine it is: the native one, and llama.cpp in builds
//! that have it.

mod engines;
mod reuse;
mod rules;
mod smollm2;

use dialtone_inference::{Decoder, Row, Token};

/// A decoder and what may be expected of it.
struct Engine {
    name: &'static str,
    decoder: Box<dyn Decoder>,
    /// Whether logits may not differ at all with what runs beside a row or was remembered.
    exact: bool,
}

impl Engine {
    /// Runs `tokens` from the place `from` of the slot, in pieces of `piece` rows, and returns
    /// the logits after the last.
    fn run(&mut self, slot: usize, from: usize, tokens: &[Token], piece: usize) -> Vec<f32> {
        let mut logits = Vec::new();
        let rows: Vec<Row> = tokens
            .iter()
            .enumerate()
            .skip(from)
            .map(|(position, &token)| Row {
                slot,
                position,
                token,
                logits: position + 1 == tokens.len(),
            })
            .collect();
        for rows in rows.chunks(piece) {
            self.decoder.decode(rows, &mut logits).expect(self.name);
        }
        assert_eq!(logits.len(), self.decoder.shape().vocab, "{}", self.name);
        logits
    }

    /// The logits after `tokens` in a decoder that remembers nothing of them.
    fn alone(&mut self, tokens: &[Token]) -> Vec<f32> {
        self.forget();
        let kept = self.decoder.open(0, tokens, tokens.len()).expect(self.name);
        assert_eq!(kept, 0, "{}", self.name);
        let logits = self.run(0, 0, tokens, tokens.len());
        self.decoder.close(0);
        logits
    }

    /// Makes the decoder forget: no sequence of the tests begins with the last token.
    fn forget(&mut self) {
        let shape = self.decoder.shape();
        let last = (shape.vocab - 1) as Token;
        for slot in 0..shape.slots {
            let room = self.decoder.kv().total / shape.slots;
            let room = room.min(shape.context);
            let other = [last, slot as Token];
            let kept = self.decoder.open(slot, &other, room).expect(self.name);
            let rest: Vec<Row> = (kept..2)
                .map(|position| Row { slot, position, token: other[position], logits: false })
                .collect();
            self.decoder.decode(&rest, &mut Vec::new()).expect(self.name);
        }
        (0..shape.slots).for_each(|slot| self.decoder.close(slot));
    }

    /// That two rows of logits are the same, as far as the engine promises it.
    fn same(&self, a: &[f32], b: &[f32], what: &str) {
        let rms = |values: &mut dyn Iterator<Item = f32>| {
            (values.map(|value| value * value).sum::<f32>() / a.len() as f32).sqrt()
        };
        let apart = rms(&mut a.iter().zip(b).map(|(a, b)| a - b));
        let size = rms(&mut a.iter().copied());
        // Rounding of activations alone makes two in a hundred; a wrong token makes a hundred.
        let most = if self.exact { 0.0 } else { 0.05 * size };
        assert!(apart <= most && size > 0.0, "{}: {what}: {apart} apart of {size}", self.name);
    }
}
