use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use crate::Token;

use super::Error;
use super::lexicon::Lexicon;
use super::vocab::Vocab;

/// How these vocabularies write a space.
pub(super) const SPACE: char = '\u{2581}';

/// No place.
const NONE: usize = usize::MAX;

/// SentencePiece's BPE: text starts as its characters, and the pair of neighbours whose union
/// is the token with the highest score becomes one until no union is a token. What is left and
/// is no token is written byte by byte.
pub(super) struct Spm {
    tokens: HashMap<Box<str>, Token>,
    scores: Vec<f32>,
    // No longer piece can be a token.
    longest: usize,
    bytes: [Option<Token>; 256],
    space_prefix: bool,
}

/// A piece of the text, in a list of them. Merged away if its length is 0.
struct Piece {
    start: usize,
    length: usize,
    before: usize,
    after: usize,
}

/// Two neighbours whose union is a token.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    length: usize,
}

impl Spm {
    pub(super) fn new(vocab: &Vocab, lexicon: &Lexicon) -> Result<Self, Error> {
        let tokens: HashMap<Box<str>, Token> =
            lexicon.texts().map(|(name, token)| (name.into(), token)).collect();
        let mut bytes = [lexicon.unknown(); 256];
        let mut found = false;
        for (byte, token) in lexicon.byte_tokens() {
            bytes[usize::from(byte)] = Some(token);
            found = true;
        }
        if !found && tokens.is_empty() {
            return Err(Error::NoBytes);
        }
        if !found {
            tracing::warn!("the vocabulary has no byte tokens; text loses what it cannot write");
        }
        Ok(Self {
            longest: tokens.keys().map(|name| name.len()).max().unwrap_or_default(),
            tokens,
            scores: vocab.scores.clone(),
            bytes,
            space_prefix: vocab.space_prefix.unwrap_or(true),
        })
    }

    /// Appends the tokens of `text`, which stands at the beginning or after a control token.
    pub(super) fn encode(&self, text: &str, tokens: &mut Vec<Token>) {
        let mut spaced = String::with_capacity(text.len() + 8);
        if self.space_prefix {
            spaced.push(SPACE);
        }
        spaced.extend(text.chars().map(|c| if c == ' ' { SPACE } else { c }));
        let pieces = self.merge(&spaced);
        let mut at = 0;
        while let Some(piece) = pieces.get(at) {
            let name = &spaced[piece.start..piece.start + piece.length];
            match self.tokens.get(name) {
                Some(token) => tokens.push(*token),
                None => tokens.extend(name.bytes().filter_map(|b| self.bytes[usize::from(b)])),
            }
            at = piece.after;
        }
    }

    fn merge(&self, text: &str) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = text
            .char_indices()
            .enumerate()
            .map(|(at, (start, letter))| Piece {
                start,
                length: letter.len_utf8(),
                before: at.checked_sub(1).unwrap_or(NONE),
                after: at + 1,
            })
            .collect();
        if let Some(last) = pieces.last_mut() {
            last.after = NONE;
        }
        let mut pairs = BinaryHeap::new();
        for left in 1..pieces.len() {
            self.propose(text, &pieces, left - 1, &mut pairs);
        }
        while let Some(Pair { left, right, length, .. }) = pairs.pop() {
            let Piece { length: left_length, before, .. } = pieces[left];
            let Piece { length: right_length, after, .. } = pieces[right];
            // One of the two was merged with another since.
            if left_length == 0 || right_length == 0 || left_length + right_length != length {
                continue;
            }
            pieces[right].length = 0;
            pieces[left].length = length;
            pieces[left].after = after;
            if after != NONE {
                pieces[after].before = left;
                self.propose(text, &pieces, left, &mut pairs);
            }
            if before != NONE {
                self.propose(text, &pieces, before, &mut pairs);
            }
        }
        pieces
    }

    /// Puts the pair that begins at `left` among those to be merged, if its union is a token.
    fn propose(&self, text: &str, pieces: &[Piece], left: usize, pairs: &mut BinaryHeap<Pair>) {
        let right = pieces[left].after;
        let length = pieces[left].length + pieces[right].length;
        if length > self.longest {
            return;
        }
        let start = pieces[left].start;
        if let Some(token) = self.tokens.get(&text[start..start + length]) {
            let score = self.scores.get(*token as usize).copied().unwrap_or(f32::NEG_INFINITY);
            pairs.push(Pair { score, left, right, length });
        }
    }
}

impl Ord for Pair {
    /// The highest score is the greatest; of equal ones the leftmost.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}
