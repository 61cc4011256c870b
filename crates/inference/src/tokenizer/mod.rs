//! Text to tokens and back, by what the model file says.

use crate::Token;

/// A model's tokenizer.
pub trait Tokenize: Send + Sync {
    /// The tokens of `text`. With `special`, the names of control tokens in the text (such as
    /// `<|im_start|>`) become those tokens; without it they are plain text, as untrusted text
    /// must be. Never adds a token that begins or ends a text.
    fn encode(&self, text: &str, special: bool) -> Vec<Token>;

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
