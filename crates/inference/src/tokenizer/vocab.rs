use crate::gguf::{Gguf, Strings};

use super::Error;

/// `tokenizer.ggml.model` of byte-level BPE.
pub(super) const BPE: &str = "gpt2";
/// `tokenizer.ggml.model` of SentencePiece with byte fallback.
pub(super) const SPM: &str = "llama";

/// Keys under which files name tokens that end an answer.
const ENDS: [&str; 3] =
    ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];

/// A vocabulary as a model file has it, nothing of it checked. Field names follow the keys
/// under `tokenizer.ggml` (GGUF specification, section "Tokenizer").
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vocab {
    /// `model`: the kind of tokenizer.
    pub model: String,
    /// `pre`: how text is cut into words.
    pub pre: Option<String>,
    /// `tokens`: names by id.
    pub tokens: Strings,
    /// `token_type`: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte. Either
    /// empty (all are normal) or one per token.
    pub types: Vec<i32>,
    /// `merges`, best first: two names with a space between them.
    pub merges: Strings,
    /// `scores`: higher ones are merged first.
    pub scores: Vec<f32>,
    /// `bos_token_id`.
    pub begin: Option<u64>,
    /// `add_bos_token`: whether texts begin with it; absent = as is usual for the kind.
    pub add_begin: Option<bool>,
    /// `eos_token_id`, `eot_token_id` and `eom_token_id`, those that are there.
    pub ends: Vec<u64>,
    /// `unknown_token_id`: stands for what no other token can write.
    pub unknown: Option<u64>,
    /// `add_space_prefix`: whether a text is read as if a space stood before it.
    pub space_prefix: Option<bool>,
}

impl Vocab {
    /// What a model file says.
    ///
    /// # Errors
    /// If a key is missing or has a value of another type.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, Error> {
        let of = gguf.metadata();
        let strings = |key: &str| -> Result<Strings, Error> {
            Ok(of.strings(key)?.cloned().unwrap_or_default())
        };
        let mut ends = Vec::new();
        for key in ENDS {
            ends.extend(of.u64(key)?);
        }
        Ok(Self {
            model: of.need::<&str>("tokenizer.ggml.model")?.to_owned(),
            pre: of.str("tokenizer.ggml.pre")?.map(str::to_owned),
            tokens: strings("tokenizer.ggml.tokens")?,
            types: of.i32s("tokenizer.ggml.token_type")?.map(<[i32]>::to_vec).unwrap_or_default(),
            merges: strings("tokenizer.ggml.merges")?,
            scores: of.f32s("tokenizer.ggml.scores")?.map(<[f32]>::to_vec).unwrap_or_default(),
            begin: of.u64("tokenizer.ggml.bos_token_id")?,
            add_begin: of.bool("tokenizer.ggml.add_bos_token")?,
            ends,
            unknown: of.u64("tokenizer.ggml.unknown_token_id")?,
            space_prefix: of.bool("tokenizer.ggml.add_space_prefix")?,
        })
    }

    /// That the arrays fit each other.
    pub(super) fn check(&self) -> Result<(), Error> {
        let tokens = self.tokens.len();
        if tokens == 0 {
            return Err(Error::Empty);
        }
        // The highest value is kept for "no token".
        if u32::try_from(tokens).is_err() {
            return Err(Error::TooMany(tokens));
        }
        let arrays = [
            ("tokenizer.ggml.token_type", self.types.len(), true),
            ("tokenizer.ggml.scores", self.scores.len(), self.model != SPM),
        ];
        for (key, found, may_lack) in arrays {
            if found != tokens && !(may_lack && found == 0) {
                return Err(Error::Length { key, found, tokens });
            }
        }
        Ok(())
    }
}
