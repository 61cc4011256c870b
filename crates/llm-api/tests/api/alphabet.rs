//! A model of one rule: after a letter comes the next one, after `z` the end; after a digit the
//! next one, round and round. Its tokens are bytes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use dialtone_inference::Token;
use dialtone_inference::decoder::{DecodeError, Decoder, KvUsage, Row, Shape};
use dialtone_inference::tokenizer::Tokenize;

use crate::rig::HANG;

const END: Token = 256;
pub const VOCAB: usize = 257;
pub const CONTEXT: usize = 4096;
/// Room of the memory in tokens, for all sequences together.
pub const ROOM: usize = 16 * CONTEXT;

/// Holds the model up while it is closed.
#[derive(Default)]
pub struct Gate {
    closed: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    pub fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    pub fn open(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        // Not for ever: a test that fails while it is closed must come to its end.
        drop(self.changed.wait_timeout_while(closed, 2 * HANG, |closed| *closed));
    }
}

pub struct Alphabet {
    slots: Vec<Sequence>,
    gate: Arc<Gate>,
    broken: bool,
}

#[derive(Clone, Default)]
struct Sequence {
    tokens: Vec<Token>,
    room: usize,
}

impl Alphabet {
    pub fn new(slots: usize, gate: Arc<Gate>) -> Self {
        Self { slots: vec![Sequence::default(); slots], gate, broken: false }
    }

    /// One that takes no row.
    pub fn broken() -> Self {
        Self { broken: true, ..Self::new(1, Arc::default()) }
    }
}

impl Decoder for Alphabet {
    fn shape(&self) -> Shape {
        Shape { vocab: VOCAB, context: CONTEXT, slots: self.slots.len() }
    }

    fn open(&mut self, slot: usize, tokens: &[Token], room: usize) -> Result<usize, DecodeError> {
        let free = ROOM - self.kv().used;
        if room > free {
            return Err(DecodeError::NoRoom { wanted: room, free });
        }
        let sequence = &mut self.slots[slot];
        let same = sequence.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        let known = same.min(tokens.len() - 1);
        sequence.tokens.truncate(known);
        sequence.room = room;
        Ok(known)
    }

    fn decode(&mut self, rows: &[Row], logits: &mut Vec<f32>) -> Result<(), DecodeError> {
        self.gate.pass();
        if self.broken {
            return Err(DecodeError::Failed("it is broken".to_owned()));
        }
        for row in rows {
            let tokens = &mut self.slots[row.slot].tokens;
            if tokens.len() != row.position {
                return Err(DecodeError::Failed(format!("position {}", row.position)));
            }
            tokens.push(row.token);
            if row.logits {
                let next = after(row.token) as usize;
                logits.extend((0..VOCAB).map(|token| if token == next { 10.0 } else { 0.0 }));
            }
        }
        Ok(())
    }

    fn close(&mut self, slot: usize) {
        self.slots[slot].room = 0;
    }

    fn kv(&self) -> KvUsage {
        let used = self.slots.iter().map(|slot| slot.room).sum();
        KvUsage { used, cached: 0, total: ROOM }
    }
}

fn after(token: Token) -> Token {
    match u8::try_from(token).unwrap_or_default() {
        b'9' => b'0'.into(),
        b'0'..=b'8' | b'a'..=b'y' => token + 1,
        _ => END,
    }
}

/// One token for each byte.
pub struct Bytes {
    all: Vec<[u8; 1]>,
    /// Holds texts up while it is closed.
    pub gate: Gate,
    /// Texts of which tokens were asked for.
    pub texts: AtomicUsize,
}

impl Default for Bytes {
    fn default() -> Self {
        let all = (0..=u8::MAX).map(|byte| [byte]).collect();
        Self { all, gate: Gate::default(), texts: AtomicUsize::new(0) }
    }
}

impl Tokenize for Bytes {
    fn encode(&self, text: &str, _special: bool) -> Vec<Token> {
        self.texts.fetch_add(1, Ordering::SeqCst);
        self.gate.pass();
        text.bytes().map(Token::from).collect()
    }

    fn bytes(&self, token: Token) -> &[u8] {
        self.all.get(token as usize).map_or(&[], |byte| byte)
    }

    fn name(&self, token: Token) -> &str {
        if token == END { "<end>" } else { std::str::from_utf8(self.bytes(token)).unwrap_or("?") }
    }

    fn ends(&self, token: Token) -> bool {
        token == END
    }

    fn begin(&self) -> Option<Token> {
        None
    }

    fn len(&self) -> usize {
        VOCAB
    }
}
