//! The sizes and constants of a model, by the metadata of its file.

use std::fmt;

use super::Error;
use crate::gguf::{FromValue, Gguf, Metadata};

/// The families of models that this engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama and what is built alike: SmolLM2, TinyLlama, Mistral.
    Llama,
    /// Qwen 2 and 2.5: biases on queries, keys and values.
    Qwen2,
}

/// What the forward pass needs to know beside the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The family.
    pub architecture: Architecture,
    /// Layers.
    pub layers: usize,
    /// Values of a token between layers.
    pub embed: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Values of a head.
    pub head_dim: usize,
    /// Values inside the feed-forward part.
    pub ffn: usize,
    /// Entries of the vocabulary.
    pub vocab: usize,
    /// Tokens of the longest text that the model was trained for.
    pub context: usize,
    /// How positions are told apart.
    pub rope: Rope,
    /// Added to mean squares before their root.
    pub rms_eps: f32,
}

/// Rotary position embedding (Su et al., "RoFormer"): pair `i` of a head's first `dims` values is
/// turned by `position / scale * base^(-2 i / dims)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Values of a head that are turned.
    pub dims: usize,
    /// Base of the angles.
    pub base: f32,
    /// Positions are divided by it (linear scaling).
    pub scale: f32,
    /// Pairs are `(i, i + dims / 2)`, as in GPT-NeoX; else `(2 i, 2 i + 1)`.
    pub neox: bool,
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
        })
    }
}

impl Architecture {
    /// The architecture of a file.
    ///
    /// # Errors
    /// If the file does not say, or it is another one.
    pub fn of(metadata: &Metadata) -> Result<Self, Error> {
        match metadata.architecture()? {
            "llama" => Ok(Self::Llama),
            "qwen2" => Ok(Self::Qwen2),
            other => Err(Error::Unsupported(format!(
                "models of architecture {other:?} are not run natively (llama and qwen2 are)"
            ))),
        }
    }
}

/// Reads values and holds each within what a model can have, so that no product of them
/// overflows and no loop runs for ever.
struct Reader<'a>(&'a Metadata);

impl<'a> Reader<'a> {
    fn get<T: FromValue<'a>>(&self, name: &str) -> Result<Option<T>, Error> {
        Ok(self.0.arch(name)?)
    }

    fn within(&self, name: &str, value: usize, most: usize) -> Result<usize, Error> {
        if (1..=most).contains(&value) {
            return Ok(value);
        }
        let key = self.0.arch_key(name);
        Err(Error::Invalid(format!("metadata {key:?} is {value}; it must be 1 to {most}")))
    }

    fn size(&self, name: &str, most: usize) -> Result<usize, Error> {
        self.within(name, self.0.need_arch(name)?, most)
    }

    fn size_or(&self, name: &str, default: usize, most: usize) -> Result<usize, Error> {
        self.within(name, self.get(name)?.unwrap_or(default), most)
    }

    fn positive(&self, name: &str, default: f32) -> Result<f32, Error> {
        let value = self.get(name)?.unwrap_or(default);
        if value > 0.0 && value.is_finite() {
            return Ok(value);
        }
        let key = self.0.arch_key(name);
        Err(Error::Invalid(format!("metadata {key:?} is {value}; it must be a positive number")))
    }
}

impl Config {
    /// By the metadata of `gguf`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another architecture or variant of one, [`Error::Invalid`] or
    /// [`Error::File`] naming the key that is missing or absurd.
    pub fn of(gguf: &Gguf) -> Result<Self, Error> {
        let architecture = Architecture::of(gguf.metadata())?;
        let read = Reader(gguf.metadata());
        if let Some(experts) = read.get::<u64>("expert_count")?.filter(|&count| count > 0) {
            let what = format!("mixtures of experts are not run natively (it has {experts})");
            return Err(Error::Unsupported(what));
        }
        let embed = read.size("embedding_length", 1 << 16)?;
        let heads = read.size("attention.head_count", 1 << 10)?;
        let kv_heads = read.size_or("attention.head_count_kv", heads, heads)?;
        let head_dim = read.size_or("attention.key_length", embed / heads, 1 << 10)?;
        let value_dim = read.size_or("attention.value_length", head_dim, 1 << 10)?;
        if !heads.is_multiple_of(kv_heads) {
            let what = format!("{heads} query heads do not share {kv_heads} key-value heads");
            return Err(Error::Invalid(format!(
                "{what} evenly ({})",
                read.0.arch_key("attention")
            )));
        }
        if value_dim != head_dim {
            let what = format!("keys of {head_dim} and values of {value_dim} numbers per head");
            return Err(Error::Unsupported(format!("{what} are not run natively")));
        }
        Ok(Self {
            architecture,
            layers: read.size("block_count", 1 << 10)?,
            embed,
            heads,
            kv_heads,
            head_dim,
            ffn: read.size("feed_forward_length", 1 << 18)?,
            vocab: vocab(gguf)?,
            context: read.size("context_length", 1 << 24)?,
            rope: rope(&read, architecture, head_dim)?,
            rms_eps: read.positive("attention.layer_norm_rms_epsilon", 1e-5)?,
        })
    }

    /// Values of all key-value heads of a token.
    pub fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Values of all query heads of a token.
    pub fn query_dim(&self) -> usize {
        self.heads * self.head_dim
    }
}

/// The vocabulary's size is that of the embedding: some files count otherwise in the metadata.
fn vocab(gguf: &Gguf) -> Result<usize, Error> {
    let tensor = gguf.tensor("token_embd.weight");
    let rows = tensor.map_or(0, |tensor| tensor.dims[1]);
    if !(1..=1 << 22).contains(&rows) {
        let what = format!("tensor \"token_embd.weight\" has {rows} rows: no vocabulary");
        return Err(Error::Invalid(what));
    }
    if let Some(tokens) = gguf.metadata().strings("tokenizer.ggml.tokens")?
        && tokens.len() > rows
    {
        let what = format!("the tokenizer has {} tokens, the model {rows}", tokens.len());
        return Err(Error::Invalid(what));
    }
    Ok(rows)
}

fn rope(read: &Reader<'_>, architecture: Architecture, head_dim: usize) -> Result<Rope, Error> {
    let dims = read.size_or("rope.dimension_count", head_dim, head_dim)?;
    if !dims.is_multiple_of(2) {
        let key = read.0.arch_key("rope.dimension_count");
        return Err(Error::Invalid(format!("{key:?} is {dims}; values are turned in pairs")));
    }
    let old = read.positive("rope.scale_linear", 1.0)?;
    let scale = match read.get::<&str>("rope.scaling.type")? {
        // The factors of Llama 3 are in a tensor of their own.
        None | Some("none" | "llama3") => old,
        Some("linear") => read.positive("rope.scaling.factor", 1.0)?,
        Some(other) => {
            let what = format!("positions scaled by {other:?} are not run natively");
            return Err(Error::Unsupported(what));
        }
    };
    let base = read.positive("rope.freq_base", 10_000.0)?;
    Ok(Rope { dims, base, scale, neox: architecture == Architecture::Qwen2 })
}
