use std::ops::Range;
use std::sync::Arc;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token_type::LlamaTokenAttr;

use crate::Token;
use crate::tokenizer::Tokenize;
use crate::tokenizer::names::{Fragment, Names};

/// A model's vocabulary as llama.cpp reads it.
///
/// Control tokens are found here, since llama.cpp finds them in a whole text or not at all. It
/// also finds tokens of the type "user defined" in any text, trusted or not; none of known
/// models ends or begins a turn.
pub(super) struct Vocabulary {
    model: Arc<LlamaModel>,
    tokens: Vec<Entry>,
    names: Names,
    begin: Option<Token>,
}

struct Entry {
    name: String,
    bytes: Vec<u8>,
    control: bool,
    ends: bool,
}

impl Vocabulary {
    pub(super) fn new(model: Arc<LlamaModel>) -> Self {
        let vocab = model.vocab();
        let never_text = LlamaTokenAttr::Control | LlamaTokenAttr::Unknown;
        let mut found = Vec::new();
        let entry = |token: LlamaToken| {
            let attributes = vocab.attr(token);
            let control = attributes.intersects(never_text);
            let name = vocab.text(token).map(|name| name.to_string_lossy().into_owned());
            let name = name.unwrap_or_default();
            let named = control || attributes.contains(LlamaTokenAttr::UserDefined);
            if let (true, false, Ok(id)) = (named, name.is_empty(), Token::try_from(token.0)) {
                found.push((name.clone(), id));
            }
            let bytes = if control { vec![] } else { vocab.token_to_piece(token, false, None) };
            Entry { name, bytes, control, ends: vocab.is_eog(token) }
        };
        let tokens = vocab.tokens().map(entry).collect();
        let begin = vocab.should_add_bos().then(|| vocab.bos());
        let begin = begin.and_then(|token| Token::try_from(token.0).ok());
        let names = Names::new(found.iter().map(|(name, token)| (name.as_str(), *token)));
        Self { tokens, names, begin, model }
    }

    /// The tokens of plain text, none of them control tokens.
    fn plain(&self, text: &str, tokens: &mut Vec<Token>) {
        let from = tokens.len();
        let encode = |text: &str, tokens: &mut Vec<Token>| {
            // Its own limit is 2 GiB in one call.
            let found = self.model.vocab().tokenize(text.as_bytes(), false, false);
            tokens.extend(found.into_iter().filter_map(|token| Token::try_from(token.0).ok()));
        };
        encode(text, tokens);
        let control = |token: &Token| self.tokens.get(*token as usize).is_none_or(|t| t.control);
        if !tokens[from..].iter().any(control) {
            return;
        }
        // Merging made a control token of a text that names one. Cut in the middle of each
        // name, the text cannot become it.
        tokens.truncate(from);
        let mut start = 0;
        let mut at = 0;
        for fragment in self.names.fragments(text, &[]) {
            at += match fragment {
                Fragment::Text(text) => text.len(),
                Fragment::Token(token) => {
                    let name = self.name(token);
                    let first = name.chars().next().map_or(0, char::len_utf8);
                    encode(&text[start..at + first], tokens);
                    start = at + first;
                    name.len()
                }
            };
        }
        encode(&text[start..], tokens);
        let kept: Vec<Token> = tokens.drain(from..).filter(|token| !control(token)).collect();
        tokens.extend(kept);
    }
}

impl Tokenize for Vocabulary {
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
        for fragment in self.names.fragments(text, untrusted) {
            match fragment {
                Fragment::Text(text) => self.plain(text, &mut tokens),
                Fragment::Token(token) => tokens.push(token),
            }
        }
        tokens
    }

    fn bytes(&self, token: Token) -> &[u8] {
        self.tokens.get(token as usize).map_or(&[], |entry| &entry.bytes)
    }

    fn name(&self, token: Token) -> &str {
        self.tokens.get(token as usize).map_or("", |entry| &entry.name)
    }

    fn ends(&self, token: Token) -> bool {
        self.tokens.get(token as usize).is_some_and(|entry| entry.ends)
    }

    fn begin(&self) -> Option<Token> {
        self.begin
    }

    fn len(&self) -> usize {
        self.tokens.len()
    }
}
