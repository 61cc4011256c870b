//! Text to tokens and back, by what the model file says.
//!
//! ```text
//! text --names--> control tokens and fragments of plain text
//!                   fragment --split--> words --bpe--> tokens     (byte-level BPE)
//!                   fragment ----------------- spm --> tokens     (SentencePiece)
//! ```
//!
//! Invariant: plain text never becomes a control token, whatever it says. The tables that plain
//! text is looked up in hold no control tokens; only [`names`] finds those, where it is asked to.

mod alphabet;
mod bpe;
mod lexicon;
pub(crate) mod names;
mod split;
mod spm;
mod stream;
mod vocab;

use std::ops::Range;
use std::sync::Arc;

use crate::Token;
use crate::gguf::Gguf;

use bpe::Bpe;
use lexicon::Lexicon;
use names::Fragment;
use spm::Spm;

pub use split::Splitter;
pub use stream::TextStream;
pub use vocab::Vocab;

/// A model's tokenizer.
pub trait Tokenize: Send + Sync {
    /// The tokens of `text`. With `special`, the names of control tokens in the text (such as
    /// `<|im_start|>`) become those tokens; without it they are plain text, as untrusted text
    /// must be. Never adds a token that begins or ends a text.
    fn encode(&self, text: &str, special: bool) -> Vec<Token>;

    /// The tokens of `text`, in which the names of control tokens become those tokens, except
    /// in the byte ranges `untrusted` (in order, not overlapping): a name that lies in one of
    /// them, or reaches into it, is plain text.
    fn encode_marked(&self, text: &str, untrusted: &[Range<usize>]) -> Vec<Token> {
        let mut tokens = Vec::new();
        let mut at = 0;
        for range in untrusted {
            tokens.extend(self.encode(&text[at..range.start], true));
            tokens.extend(self.encode(&text[range.clone()], false));
            at = range.end;
        }
        tokens.extend(self.encode(&text[at..], true));
        tokens
    }

    /// The bytes that a token stands for: not always whole characters. Empty for control tokens
    /// and for ids outside the vocabulary.
    fn bytes(&self, token: Token) -> &[u8];

    /// The name of a token as the vocabulary has it, for logs and `/tokenize`.
    fn name(&self, token: Token) -> &str;

    /// Whether the model ends its answer with this token (EOS, EOT and their like).
    fn ends(&self, token: Token) -> bool;

    /// The token that every text begins with, where the model wants one.
    fn begin(&self) -> Option<Token>;

    /// Entries of the vocabulary.
    fn len(&self) -> usize;

    /// Whether the vocabulary is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a file's vocabulary cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The metadata is not what the format says.
    #[error(transparent)]
    Gguf(#[from] crate::gguf::Error),
    /// A kind of tokenizer that is not known here.
    #[error("tokenizer.ggml.model is {0:?}; known are \"gpt2\" and \"llama\"")]
    UnknownModel(String),
    /// No tokens.
    #[error("tokenizer.ggml.tokens is empty")]
    Empty,
    /// An array that says something of every token has another length.
    #[error("{key} has {found} entries for {tokens} tokens")]
    Length {
        /// Its key.
        key: &'static str,
        /// Its entries.
        found: usize,
        /// The vocabulary's.
        tokens: usize,
    },
    /// More tokens than ids.
    #[error("tokenizer.ggml.tokens has {0} entries, more than there are token ids")]
    TooMany(usize),
    /// Nothing that a byte could become.
    #[error("the vocabulary has a token for none of the 256 bytes")]
    NoBytes,
}

/// The tokenizer of a model file.
///
/// # Errors
/// If the vocabulary is of an unknown kind, or its parts do not fit each other. What is merely
/// strange (ids outside the vocabulary, merges of unknown tokens) is left out with a warning.
pub fn from_gguf(gguf: &Gguf) -> Result<Arc<dyn Tokenize>, Error> {
    Ok(Arc::new(Tokenizer::new(&Vocab::from_gguf(gguf)?)?))
}

/// A tokenizer made of a vocabulary.
pub struct Tokenizer {
    lexicon: Lexicon,
    coder: Coder,
}

/// How a fragment of plain text becomes tokens.
enum Coder {
    Bpe(Box<Bpe>),
    Spm(Box<Spm>),
}

impl Tokenizer {
    /// Of a vocabulary from anywhere.
    ///
    /// # Errors
    /// As [`from_gguf`].
    pub fn new(vocab: &Vocab) -> Result<Self, Error> {
        vocab.check()?;
        let lexicon = Lexicon::new(vocab);
        let coder = match vocab.model.as_str() {
            vocab::BPE => Coder::Bpe(Box::new(Bpe::new(vocab, &lexicon)?)),
            vocab::SPM => Coder::Spm(Box::new(Spm::new(vocab, &lexicon)?)),
            other => return Err(Error::UnknownModel(other.to_owned())),
        };
        Ok(Self { lexicon, coder })
    }

    fn plain(&self, text: &str, tokens: &mut Vec<Token>) {
        match &self.coder {
            Coder::Bpe(bpe) => bpe.encode(text, tokens),
            Coder::Spm(spm) => spm.encode(text, tokens),
        }
    }
}

impl Tokenize for Tokenizer {
    fn encode(&self, text: &str, special: bool) -> Vec<Token> {
        if special {
            return self.encode_marked(text, &[]);
        }
        let mut tokens = Vec::new();
        if !text.is_empty() {
            self.plain(text, &mut tokens);
        }
        tokens
    }

    fn encode_marked(&self, text: &str, untrusted: &[Range<usize>]) -> Vec<Token> {
        let mut tokens = Vec::new();
        for fragment in self.lexicon.names.fragments(text, untrusted) {
            match fragment {
                Fragment::Text(text) => self.plain(text, &mut tokens),
                Fragment::Token(token) => tokens.push(token),
            }
        }
        tokens
    }

    fn bytes(&self, token: Token) -> &[u8] {
        self.lexicon.bytes(token)
    }

    fn name(&self, token: Token) -> &str {
        self.lexicon.name(token)
    }

    fn ends(&self, token: Token) -> bool {
        self.lexicon.ends(token)
    }

    fn begin(&self) -> Option<Token> {
        self.lexicon.begin()
    }

    fn len(&self) -> usize {
        self.lexicon.len()
    }
}
