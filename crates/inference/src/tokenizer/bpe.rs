use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::Token;

use super::Error;
use super::alphabet::letter;
use super::lexicon::Lexicon;
use super::split::Splitter;
use super::vocab::Vocab;

/// No token, and no place.
const NONE: u32 = u32::MAX;

/// Byte-level byte-pair encoding: each word starts as its bytes, and the best-ranked pair of
/// neighbours becomes one token until no pair is left that may.
pub(super) struct Bpe {
    splitter: Splitter,
    bytes: [Token; 256],
    // Rank of a pair (lower first) and what it becomes.
    merges: HashMap<(Token, Token), (u32, Token)>,
    // Words that are tokens as a whole, for vocabularies that want them unmerged.
    whole: HashMap<Box<[u8]>, Token>,
}

/// A piece of a word, in a list of them.
struct Piece {
    token: Token,
    before: u32,
    after: u32,
}

/// A pair that may be merged: best rank first, then leftmost. The tokens tell whether it is
/// still there.
type Pair = Reverse<(u32, u32, Token, Token)>;

impl Bpe {
    pub(super) fn new(vocab: &Vocab, lexicon: &Lexicon) -> Result<Self, Error> {
        let splitter = Splitter::new(vocab.pre.as_deref());
        let mut by_name = HashMap::with_capacity(lexicon.len());
        by_name.extend(lexicon.texts());
        let mut bytes = [lexicon.unknown().unwrap_or(NONE); 256];
        let mut missing = 0;
        for (byte, token) in (0..=u8::MAX).zip(&mut bytes) {
            match by_name.get(letter(byte).encode_utf8(&mut [0; 4]) as &str) {
                Some(known) => *token = *known,
                None => missing += 1,
            }
        }
        if missing == 256 {
            return Err(Error::NoBytes);
        }
        if missing > 0 {
            tracing::warn!(
                "{missing} of 256 bytes have no token in the vocabulary; text loses them"
            );
        }
        let mut merges = HashMap::with_capacity(vocab.merges.len());
        let mut unknown = 0_usize;
        let mut whole = String::new();
        for (rank, merge) in (0..NONE).zip(vocab.merges.iter()) {
            match pair(merge, &by_name, &mut whole) {
                Some((left, right, whole)) => {
                    merges.entry((left, right)).or_insert((rank, whole));
                }
                None => unknown += 1,
            }
        }
        if unknown > 0 {
            tracing::warn!("{unknown} of {} merges name unknown tokens", vocab.merges.len());
        }
        let whole = if splitter.whole() {
            lexicon.texts().map(|(_, token)| (lexicon.bytes(token).into(), token)).collect()
        } else {
            HashMap::new()
        };
        Ok(Self { splitter, bytes, merges, whole })
    }

    /// Appends the tokens of `text`.
    pub(super) fn encode(&self, text: &str, tokens: &mut Vec<Token>) {
        let mut pieces = Vec::new();
        let mut pairs = BinaryHeap::new();
        self.splitter.words(text, &mut |word| {
            if let Some(token) = self.whole.get(word.as_bytes()) {
                return tokens.push(*token);
            }
            // Places are 32 bits wide.
            for word in word.as_bytes().chunks(NONE as usize) {
                self.word(word, &mut pieces, &mut pairs);
                tokens.extend(pieces.iter().map(|p: &Piece| p.token).filter(|&t| t != NONE));
            }
        });
    }

    /// Leaves the tokens of `word` in `pieces`, between them pieces that were merged away
    /// (`NONE`). Every merge costs two look-ups and two pushes: O(n log n) for n bytes.
    fn word(&self, word: &[u8], pieces: &mut Vec<Piece>, pairs: &mut BinaryHeap<Pair>) {
        pieces.clear();
        pairs.clear();
        for (byte, at) in word.iter().zip(0_u32..) {
            let token = self.bytes[usize::from(*byte)];
            let before = at.checked_sub(1).unwrap_or(NONE);
            pieces.push(Piece { token, before, after: at + 1 });
        }
        let Some(last) = pieces.last_mut() else { return };
        last.after = NONE;
        for left in 1..pieces.len() {
            self.propose(pieces, left as u32 - 1, pairs);
        }
        while let Some(Reverse((_, left, left_token, right_token))) = pairs.pop() {
            let Piece { token, before, after: right } = pieces[left as usize];
            if token != left_token || right == NONE || pieces[right as usize].token != right_token {
                continue;
            }
            let Some(&(_, whole)) = self.merges.get(&(token, right_token)) else { continue };
            let after = pieces[right as usize].after;
            pieces[right as usize].token = NONE;
            pieces[left as usize].token = whole;
            pieces[left as usize].after = after;
            if after != NONE {
                pieces[after as usize].before = left;
                self.propose(pieces, left, pairs);
            }
            if before != NONE {
                self.propose(pieces, before, pairs);
            }
        }
    }

    /// Puts the pair that begins at `left` among those to be merged, if it may be.
    fn propose(&self, pieces: &[Piece], left: u32, pairs: &mut BinaryHeap<Pair>) {
        let piece = &pieces[left as usize];
        let right = pieces[piece.after as usize].token;
        if let Some((rank, _)) = self.merges.get(&(piece.token, right)) {
            pairs.push(Reverse((*rank, left, piece.token, right)));
        }
    }
}

/// The tokens of a merge, left, right and both in one, if they are all known. `whole` is there
/// to be written over.
fn pair(
    merge: &str,
    by_name: &HashMap<&str, Token>,
    whole: &mut String,
) -> Option<(Token, Token, Token)> {
    // A token's name may itself begin with a space.
    let space = 1 + merge.as_bytes().get(1..)?.iter().position(|byte| *byte == b' ')?;
    let (left, right) = (&merge[..space], &merge[space + 1..]);
    whole.clear();
    whole.extend([left, right]);
    Some((*by_name.get(left)?, *by_name.get(right)?, *by_name.get(whole.as_str())?))
}
