use crate::Token;
use crate::gguf::Strings;

use super::alphabet;
use super::names::Names;
use super::vocab::{SPM, Vocab};

/// Tokens with these names end an answer whatever the file says of them: files often name one
/// end (EOS) and leave out that of a turn. The list is llama.cpp's (`special_eog_ids`).
const ENDS: [&str; 25] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<reponame>",
    "<|file_sep|>",
];

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text.
    Text,
    /// Text that is found in trusted text before anything else is.
    Added,
    /// Never text.
    Control,
    /// One byte, where no other token fits (`<0x0A>`).
    Byte(u8),
}

/// Each token's name, kind and bytes, and what some of them mean.
pub(super) struct Lexicon {
    tokens: Strings,
    kinds: Vec<Kind>,
    // Bytes of all tokens in one piece: those of token i end at `spans[i]`.
    bytes: Vec<u8>,
    spans: Vec<usize>,
    begin: Option<Token>,
    ends: Vec<Token>,
    unknown: Option<Token>,
    pub(super) names: Names,
}

impl Lexicon {
    /// Of a vocabulary whose arrays fit each other.
    pub(super) fn new(vocab: &Vocab) -> Self {
        let count = vocab.tokens.len();
        let known = |what: &str, id: Option<u64>| {
            let token = id.and_then(|id| Token::try_from(id).ok());
            let token = token.filter(|&token| (token as usize) < count);
            if let (Some(id), None) = (id, token) {
                tracing::warn!("the {what} token {id} is outside the vocabulary and not used");
            }
            token
        };
        let sentencepiece = vocab.model == SPM;
        // SentencePiece files that do not say have <unk>, <s>, </s> at 0, 1, 2.
        let usual = |id: u64| sentencepiece.then_some(id);
        let begin = known("begin", vocab.begin.or(usual(1)));
        let unknown = known("unknown", vocab.unknown.or(usual(0)));
        let mut ends: Vec<Token> =
            vocab.ends.iter().filter_map(|&id| known("end", Some(id))).collect();
        if vocab.ends.is_empty() {
            ends.extend(known("end", usual(2)));
        }
        let listed: std::collections::HashSet<&str> = ENDS.into_iter().collect();
        for (token, name) in (0..).zip(vocab.tokens.iter()) {
            // Hashing every name would take longer than all else here.
            if name.starts_with(['<', '[', '_']) && listed.contains(name) {
                ends.push(token);
            }
        }
        ends.sort_unstable();
        ends.dedup();
        let mut kinds: Vec<Kind> = (0..count).map(|at| kind(vocab, at)).collect();
        // What begins, ends or is unknown is no text, whatever its type says; but a letter that
        // a strange file names as one must stay writable.
        for &token in ends.iter().chain(&begin).chain(&unknown) {
            if name(&vocab.tokens, token).chars().nth(1).is_some() {
                kinds[token as usize] = Kind::Control;
            }
        }
        let names = Names::new(vocab.tokens.iter().zip(&kinds).enumerate().filter_map(
            |(token, (name, kind))| {
                let found = matches!(kind, Kind::Control | Kind::Added) && !name.is_empty();
                found.then_some((name, token as Token))
            },
        ));
        let adds = vocab.add_begin.unwrap_or_else(|| {
            sentencepiece || super::split::begins(vocab.pre.as_deref().unwrap_or_default())
        });
        let (bytes, spans) = spell(vocab, &kinds, sentencepiece);
        Self {
            tokens: vocab.tokens.clone(),
            kinds,
            bytes,
            spans,
            begin: begin.filter(|_| adds),
            ends,
            unknown,
            names,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn name(&self, token: Token) -> &str {
        name(&self.tokens, token)
    }

    pub(super) fn bytes(&self, token: Token) -> &[u8] {
        let at = token as usize;
        let Some(&end) = self.spans.get(at) else { return &[] };
        let start = at.checked_sub(1).map_or(0, |before| self.spans[before]);
        &self.bytes[start..end]
    }

    pub(super) fn ends(&self, token: Token) -> bool {
        self.ends.binary_search(&token).is_ok()
    }

    pub(super) fn begin(&self) -> Option<Token> {
        self.begin
    }

    pub(super) fn unknown(&self) -> Option<Token> {
        self.unknown
    }

    /// Every token that plain text may become, with its name. Of two with one name, the
    /// second comes second.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, Token)> {
        let all = self.tokens.iter().zip(&self.kinds).zip(0..);
        all.filter(|((name, kind), _)| matches!(kind, Kind::Text | Kind::Added) && !name.is_empty())
            .map(|((name, _), token)| (name, token))
    }

    /// The tokens that stand for one byte each.
    pub(super) fn byte_tokens(&self) -> impl Iterator<Item = (u8, Token)> {
        self.kinds.iter().zip(0..).filter_map(|(kind, token)| match *kind {
            Kind::Byte(byte) => Some((byte, token)),
            _ => None,
        })
    }
}

/// The name of a token; empty outside the vocabulary.
fn name(tokens: &Strings, token: Token) -> &str {
    tokens.get(token as usize).unwrap_or_default()
}

/// What the file says that a token is for.
fn kind(vocab: &Vocab, at: usize) -> Kind {
    match vocab.types.get(at) {
        // The unknown token's name is no text either.
        Some(2 | 3) => Kind::Control,
        Some(4) => Kind::Added,
        Some(6) => hex(vocab.tokens.get(at).unwrap_or_default()).map_or(Kind::Control, Kind::Byte),
        _ => Kind::Text,
    }
}

/// The byte that `<0x0A>` names.
fn hex(name: &str) -> Option<u8> {
    let digits = name.strip_prefix("<0x")?.strip_suffix('>')?;
    let valid = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    valid.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// The bytes of every token, and where each token's end.
fn spell(vocab: &Vocab, kinds: &[Kind], sentencepiece: bool) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = Vec::with_capacity(vocab.tokens.iter().map(str::len).sum());
    let mut spans = Vec::with_capacity(kinds.len());
    for (name, kind) in vocab.tokens.iter().zip(kinds) {
        match kind {
            Kind::Control => {}
            Kind::Byte(byte) => bytes.push(*byte),
            Kind::Text | Kind::Added if sentencepiece => {
                for (at, part) in name.split(super::spm::SPACE).enumerate() {
                    if at > 0 {
                        bytes.push(b' ');
                    }
                    bytes.extend(part.as_bytes());
                }
            }
            // Added to the vocabulary as they are, not in its alphabet.
            Kind::Added => bytes.extend(name.as_bytes()),
            Kind::Text => {
                for letter in name.chars() {
                    match alphabet::byte(letter) {
                        Some(byte) => bytes.push(byte),
                        None => bytes.extend(letter.encode_utf8(&mut [0; 4]).as_bytes()),
                    }
                }
            }
        }
        spans.push(bytes.len());
    }
    (bytes, spans)
}
