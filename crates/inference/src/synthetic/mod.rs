//! Models of random weights, for tests of formats and measurements of speed: whole GGUF files of
//! any size, the same bytes on every system for one seed.
//!
//! They load in other programs too. What they say means nothing, but it varies: the scales of the
//! weights keep activations and logits at sensible sizes.

mod vocabulary;
mod weights;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::gguf::{Type, Writer};
use crate::quant::quantize;
use weights::Weights;

/// How a conversation becomes text: ChatML.
const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + \
    '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}\
    {{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Values made at once: a whole number of every format's blocks.
const PIECE: usize = 64 * 1024;

/// A family of models, as files name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `llama`.
    Llama,
    /// `qwen2`: biases on queries, keys and values, and another order of rotary pairs.
    Qwen2,
}

/// The formats of a model's matrices. Where the rows are not whole blocks of a format, the next
/// simpler one with shorter blocks stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types {
    /// Most matrices.
    pub matrices: Type,
    /// The values and the last matrix of the feed-forward part, in the half of the layers where
    /// mixed formats spend more bits.
    pub better: Type,
    /// The embeddings.
    pub embedding: Type,
    /// The output matrix, and the embeddings where they serve as such.
    pub output: Type,
}

/// A model to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synthetic {
    /// Family.
    pub family: Family,
    /// Layers.
    pub layers: usize,
    /// Width of the stream between layers.
    pub embed: usize,
    /// Query heads; they divide `embed` into even parts.
    pub heads: usize,
    /// Key and value heads; a divisor of `heads`.
    pub kv_heads: usize,
    /// Width of the feed-forward part.
    pub ffn: usize,
    /// Entries of the vocabulary, at least [`Synthetic::VOCAB_MIN`].
    pub vocab: usize,
    /// Tokens of the longest sequence.
    pub context: usize,
    /// Formats.
    pub types: Types,
    /// Whether the embeddings are the output matrix too.
    pub tied: bool,
    /// Other seeds give other weights.
    pub seed: u64,
}

impl Family {
    fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
        }
    }
}

impl Types {
    /// One format for all.
    pub fn all(ty: Type) -> Self {
        Self { matrices: ty, better: ty, embedding: ty, output: ty }
    }

    /// The mix of files that are called `Q4_K_M`.
    pub fn q4_k_m() -> Self {
        let (matrices, better) = (Type::Q4K, Type::Q6K);
        Self { matrices, better, embedding: matrices, output: better }
    }
}

/// A tensor to be made: its place in the model tells how large its values are.
struct Plan {
    name: String,
    ty: Type,
    dims: Vec<usize>,
    mean: f32,
    deviation: f32,
}

impl Synthetic {
    /// The smallest vocabulary: all bytes, the merged tokens and the special ones.
    pub const VOCAB_MIN: usize = vocabulary::MIN;

    /// A model for tests, of two layers, wide enough for all formats.
    pub fn small(family: Family, types: Types, seed: u64) -> Self {
        Self {
            family,
            layers: 2,
            embed: 256,
            heads: 8,
            kv_heads: 4,
            ffn: 512,
            vocab: 320,
            context: 512,
            types,
            tied: false,
            seed,
        }
    }

    /// A model of 1.2 billion weights for measurements, in the shape of Llama 3.2 1B.
    pub fn billion(types: Types, seed: u64) -> Self {
        Self {
            family: Family::Llama,
            layers: 16,
            embed: 2048,
            heads: 32,
            kv_heads: 8,
            ffn: 8192,
            vocab: 128_256,
            context: 8192,
            types,
            tied: true,
            seed,
        }
    }

    /// Writes the model. Takes little memory, whatever its size.
    ///
    /// # Errors
    /// If `out` fails, or the sizes do not fit each other.
    pub fn write<W: Write>(&self, out: W) -> io::Result<W> {
        self.check()?;
        let plans = self.plans();
        let mut writer = Writer::new(3);
        self.metadata(&mut writer);
        for plan in &plans {
            writer.tensor(&plan.name, plan.ty, &plan.dims);
        }
        let mut writer = writer.begin(out)?;
        let mut values = Vec::with_capacity(PIECE);
        for plan in &plans {
            let mut weights = Weights::new(self.seed, &plan.name, plan.mean, plan.deviation);
            let mut left = plan.dims.iter().product::<usize>();
            while left > 0 {
                values.clear();
                values.extend(weights.by_ref().take(left.min(PIECE)));
                left -= values.len();
                writer.write(&quantize(plan.ty, &values).map_err(io::Error::other)?)?;
            }
        }
        writer.finish()
    }

    /// The model as the bytes of a file.
    ///
    /// # Errors
    /// If the sizes do not fit each other.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        self.write(Vec::new())
    }

    /// Writes the model to a file.
    ///
    /// # Errors
    /// If the file cannot be written, or the sizes do not fit each other.
    pub fn to_file(&self, path: &Path) -> io::Result<()> {
        self.write(BufWriter::new(File::create(path)?)).map(drop)
    }

    fn check(&self) -> io::Result<()> {
        let Self { layers, embed, heads, kv_heads, ffn, vocab, context, .. } = *self;
        let sizes = [layers, embed, heads, kv_heads, ffn, context];
        let wrong = if sizes.contains(&0) {
            "a size is 0".into()
        } else if embed % (2 * heads) != 0 {
            format!("{heads} heads do not divide {embed} into even parts")
        } else if heads % kv_heads != 0 {
            format!("{kv_heads} key heads do not divide {heads} heads")
        } else if vocab < Self::VOCAB_MIN {
            format!("a vocabulary of {vocab}; at least {} are needed", Self::VOCAB_MIN)
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, wrong))
    }

    fn metadata(&self, writer: &mut Writer) {
        let family = self.family.name();
        let size = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let name = format!("synthetic {family} {}x{}, seed {}", self.layers, self.embed, self.seed);
        writer
            .metadata("general.architecture", family)
            .metadata("general.name", name)
            .metadata("general.quantization_version", 2);
        for (key, value) in [
            ("context_length", self.context),
            ("embedding_length", self.embed),
            ("block_count", self.layers),
            ("feed_forward_length", self.ffn),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("rope.dimension_count", self.embed / self.heads),
            ("vocab_size", self.vocab),
        ] {
            writer.metadata(&format!("{family}.{key}"), size(value));
        }
        let (base, split) = match self.family {
            Family::Llama => (10_000.0_f32, "smollm"),
            Family::Qwen2 => (1_000_000.0, "qwen2"),
        };
        writer
            .metadata(&format!("{family}.attention.layer_norm_rms_epsilon"), 1e-5_f32)
            .metadata(&format!("{family}.rope.freq_base"), base)
            .metadata("tokenizer.ggml.model", "gpt2")
            .metadata("tokenizer.ggml.pre", split)
            .metadata("tokenizer.ggml.tokens", vocabulary::tokens(self.vocab))
            .metadata("tokenizer.ggml.token_type", vocabulary::token_types(self.vocab))
            .metadata("tokenizer.ggml.merges", vocabulary::merges())
            .metadata("tokenizer.ggml.bos_token_id", vocabulary::END_OF_TEXT)
            .metadata("tokenizer.ggml.eos_token_id", vocabulary::IM_END)
            .metadata("tokenizer.ggml.padding_token_id", vocabulary::END_OF_TEXT)
            .metadata("tokenizer.ggml.add_bos_token", false)
            .metadata("tokenizer.chat_template", CHAT_TEMPLATE);
    }

    /// All tensors, in the order of the file. A matrix of `n` inputs keeps the size of what it is
    /// given; those that add to the stream are smaller, so that it grows little over all layers. The
    /// logits spread by `spread`, so that some tokens are likely and many are possible.
    fn plans(&self) -> Vec<Plan> {
        let Self { embed, ffn, vocab, .. } = *self;
        let kv = embed / self.heads * self.kv_heads;
        let deviation = |inputs: usize, factor: f32| factor / (inputs as f32).sqrt();
        // Where the embeddings are the output matrix, a token would follow itself for ever unless
        // the layers outweigh what it brings.
        let (adds, spread) = if self.tied { (3.0, 2.0) } else { (1.0, 3.0) };
        let adds = adds / (2.0 * self.layers as f32).sqrt();
        let matrix = |name: String, ty: Type, inputs: usize, outputs: usize, factor: f32| Plan {
            name,
            ty: fitting(ty, inputs),
            dims: vec![inputs, outputs],
            mean: 0.0,
            deviation: deviation(inputs, factor),
        };
        let vector = |name: String, len: usize, mean: f32| Plan {
            name,
            ty: Type::F32,
            dims: vec![len],
            mean,
            deviation: 0.1,
        };
        let embedding = if self.tied { self.types.output } else { self.types.embedding };
        let mut plans = vec![
            matrix("token_embd.weight".into(), embedding, embed, vocab, spread),
            vector("output_norm.weight".into(), embed, 1.0),
        ];
        if !self.tied {
            plans.push(matrix("output.weight".into(), self.types.output, embed, vocab, spread));
        }
        for layer in 0..self.layers {
            let name = |part: &str| format!("blk.{layer}.{part}");
            let ty = self.types.matrices;
            let better = if self.gets_more_bits(layer) { self.types.better } else { ty };
            plans.push(vector(name("attn_norm.weight"), embed, 1.0));
            plans.push(matrix(name("attn_q.weight"), ty, embed, embed, 1.0));
            plans.push(matrix(name("attn_k.weight"), ty, embed, kv, 1.0));
            plans.push(matrix(name("attn_v.weight"), better, embed, kv, 1.0));
            if self.family == Family::Qwen2 {
                plans.push(vector(name("attn_q.bias"), embed, 0.0));
                plans.push(vector(name("attn_k.bias"), kv, 0.0));
                plans.push(vector(name("attn_v.bias"), kv, 0.0));
            }
            plans.push(matrix(name("attn_output.weight"), ty, embed, embed, adds));
            plans.push(vector(name("ffn_norm.weight"), embed, 1.0));
            plans.push(matrix(name("ffn_gate.weight"), ty, embed, ffn, 1.0));
            plans.push(matrix(name("ffn_up.weight"), ty, embed, ffn, 1.0));
            plans.push(matrix(name("ffn_down.weight"), better, ffn, embed, adds));
        }
        plans
    }

    /// Which layers mixed formats spend more bits on: the first and the last eighth, and every
    /// third between (`llama-quantize` of llama.cpp).
    fn gets_more_bits(&self, layer: usize) -> bool {
        let eighth = self.layers / 8;
        layer < eighth || layer >= 7 * self.layers / 8 || (layer - eighth) % 3 == 2
    }
}

/// The format for rows of `columns` values: `ty` if they are whole blocks, else what
/// `llama-quantize` takes instead.
fn fitting(ty: Type, columns: usize) -> Type {
    if columns.is_multiple_of(ty.block()) {
        return ty;
    }
    match ty {
        Type::Q4K => fitting(Type::Q5_0, columns),
        Type::Q5K => fitting(Type::Q5_1, columns),
        Type::Q6K => fitting(Type::Q8_0, columns),
        _ => Type::F16,
    }
}
