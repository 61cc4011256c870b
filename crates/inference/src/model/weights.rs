//! The weights of a model, packed for the kernels.

use std::sync::{Mutex, PoisonError};

use super::{Config, Error};
use crate::gguf::{Gguf, TensorInfo, Type};
use crate::matrix::{Matrix, PackError, Pool};
use crate::quant;

/// Bytes of a tensor that are read at once: beside the packed weights, no more is in memory.
const PIECE: usize = 256 * 1024;

/// Tensors that are packed before progress is told again.
const WINDOW: usize = 16;

/// All weights.
#[derive(Debug)]
pub struct Weights {
    /// A row per token; also the output head where the model ties both.
    pub embed: Matrix,
    /// The layers, first one first.
    pub layers: Vec<Layer>,
    /// Weights of the last norm.
    pub norm: Vec<f32>,
    /// The output head, where it is not the embedding.
    pub head: Option<Matrix>,
    /// What the rate of each pair is divided by (Llama 3).
    pub rope_factors: Option<Vec<f32>>,
}

/// One layer. Matrices map inputs to outputs; norms multiply each input.
#[derive(Debug)]
pub struct Layer {
    pub attn_norm: Vec<f32>,
    pub q: Matrix,
    pub k: Matrix,
    pub v: Matrix,
    /// Whether what values lose when their inputs are rounded is worth a second product: these
    /// losses add most to the error of logits, and with shared heads it costs very little.
    pub refine: bool,
    /// Added to queries, keys and values; empty where there is none.
    pub biases: [Vec<f32>; 3],
    pub o: Matrix,
    pub ffn_norm: Vec<f32>,
    pub gate: Matrix,
    pub up: Matrix,
    pub down: Matrix,
}

/// A matrix that is to be packed.
struct Wanted<'a> {
    tensor: &'a TensorInfo,
    packed: Mutex<Option<Result<Matrix, Error>>>,
}

/// Finds tensors, checks their shapes, and knows which have been asked for.
struct Tensors<'a> {
    gguf: &'a Gguf,
    taken: Vec<&'a str>,
    wanted: Vec<Wanted<'a>>,
}

impl<'a> Tensors<'a> {
    fn find(&mut self, name: &str, dims: [usize; 2]) -> Result<Option<&'a TensorInfo>, Error> {
        let Some(tensor) = self.gguf.tensor(name) else { return Ok(None) };
        self.taken.push(&tensor.name);
        let expected = [dims[0], dims[1], 1, 1];
        if tensor.dims != expected {
            let what = format!("tensor {name:?} is {:?}, the metadata say {dims:?}", tensor.dims);
            return Err(Error::Invalid(what));
        }
        if !tensor.ty.runs() {
            let what = format!("tensor {name:?} is {}, which is not run natively", tensor.ty);
            return Err(Error::Unsupported(what));
        }
        Ok(Some(tensor))
    }

    fn need(&mut self, name: &str, dims: [usize; 2]) -> Result<&'a TensorInfo, Error> {
        self.find(name, dims)?.ok_or_else(|| Error::Invalid(format!("there is no tensor {name:?}")))
    }

    /// Asks for a matrix of `cols` inputs and `rows` outputs.
    fn matrix(&mut self, name: &str, cols: usize, rows: usize) -> Result<(), Error> {
        let tensor = self.need(name, [cols, rows])?;
        self.wanted.push(Wanted { tensor, packed: Mutex::new(None) });
        Ok(())
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, Error> {
        let tensor = self.need(name, [len, 1])?;
        values(self.gguf, tensor)
    }

    fn optional(&mut self, name: &str, len: usize) -> Result<Option<Vec<f32>>, Error> {
        let tensor = self.find(name, [len, 1])?;
        tensor.map(|tensor| values(self.gguf, tensor)).transpose()
    }

    /// Refuses files with tensors that were not asked for: the model would run, wrongly.
    fn all_taken(&mut self) -> Result<(), Error> {
        self.taken.sort_unstable();
        let stray = self.gguf.tensors().iter().find(|tensor| {
            // Angles that some converters wrote out; they follow from the metadata.
            let angles = tensor.name.contains("rot_embd") || tensor.name.contains("rope_freqs");
            !angles && self.taken.binary_search(&&*tensor.name).is_err()
        });
        stray.map_or(Ok(()), |tensor| {
            let what = format!("tensor {:?} is of no model that is run natively", tensor.name);
            Err(Error::Unsupported(what))
        })
    }
}

/// One layer but for its matrices.
struct Vectors {
    attn_norm: Vec<f32>,
    refine: bool,
    biases: [Vec<f32>; 3],
    ffn_norm: Vec<f32>,
}

impl Weights {
    /// Reads and packs all weights; `progress` is told the part that is done, 0 to 1.
    ///
    /// # Errors
    /// If a tensor is missing, of another shape or type than it must be, not finite, or cannot be
    /// read; nothing large is allocated before all shapes and types are known to be right.
    pub fn load(
        gguf: &Gguf,
        config: &Config,
        pool: &Pool,
        progress: &dyn Fn(f32),
    ) -> Result<Self, Error> {
        let mut tensors = Tensors { gguf, taken: Vec::new(), wanted: Vec::new() };
        tensors.matrix("token_embd.weight", config.embed, config.vocab)?;
        let tied = gguf.tensor("output.weight").is_none();
        if !tied {
            tensors.matrix("output.weight", config.embed, config.vocab)?;
        }
        let norm = tensors.vector("output_norm.weight", config.embed)?;
        let rope_factors = tensors.optional("rope_freqs.weight", config.rope.dims / 2)?;
        if rope_factors.iter().flatten().any(|&factor| factor <= 0.0) {
            let what = "tensor \"rope_freqs.weight\" has a factor that is not positive";
            return Err(Error::Invalid(what.into()));
        }
        let vectors = (0..config.layers)
            .map(|layer| plan_layer(&mut tensors, config, layer))
            .collect::<Result<Vec<_>, _>>()?;
        tensors.all_taken()?;
        let mut packed = pack(gguf, &tensors.wanted, pool, progress)?.into_iter();
        let mut next = || packed.next().ok_or_else(|| Error::Invalid("a tensor is gone".into()));
        let embed = next()?;
        let head = if tied { None } else { Some(next()?) };
        let layers = vectors
            .into_iter()
            .map(|vectors| {
                Ok(Layer {
                    attn_norm: vectors.attn_norm,
                    q: next()?,
                    k: next()?,
                    v: next()?,
                    refine: vectors.refine,
                    biases: vectors.biases,
                    o: next()?,
                    ffn_norm: vectors.ffn_norm,
                    gate: next()?,
                    up: next()?,
                    down: next()?,
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self { embed, layers, norm, head, rope_factors })
    }

    /// The output head.
    pub fn head(&self) -> &Matrix {
        self.head.as_ref().unwrap_or(&self.embed)
    }
}

/// Asks for the matrices of a layer, in the order of [`Layer`], and reads its vectors.
fn plan_layer(tensors: &mut Tensors<'_>, config: &Config, layer: usize) -> Result<Vectors, Error> {
    let name = |part: &str| format!("blk.{layer}.{part}");
    let (embed, query, kv, ffn) = (config.embed, config.query_dim(), config.kv_dim(), config.ffn);
    for (part, cols, rows) in [
        ("attn_q.weight", embed, query),
        ("attn_k.weight", embed, kv),
        ("attn_v.weight", embed, kv),
        ("attn_output.weight", query, embed),
        ("ffn_gate.weight", embed, ffn),
        ("ffn_up.weight", embed, ffn),
        ("ffn_down.weight", ffn, embed),
    ] {
        tensors.matrix(&name(part), cols, rows)?;
    }
    let mut bias = |part: &str, len| -> Result<Vec<f32>, Error> {
        Ok(tensors.optional(&name(part), len)?.unwrap_or_default())
    };
    let biases = [bias("attn_q.bias", query)?, bias("attn_k.bias", kv)?, bias("attn_v.bias", kv)?];
    let rounded = tensors.need(&name("attn_v.weight"), [embed, kv])?.ty.block() > 1;
    Ok(Vectors {
        refine: rounded && 2 * config.kv_heads <= config.heads,
        attn_norm: tensors.vector(&name("attn_norm.weight"), embed)?,
        biases,
        ffn_norm: tensors.vector(&name("ffn_norm.weight"), embed)?,
    })
}

/// Packs matrices, several at once, in the order of the file's reader.
fn pack(
    gguf: &Gguf,
    wanted: &[Wanted<'_>],
    pool: &Pool,
    progress: &dyn Fn(f32),
) -> Result<Vec<Matrix>, Error> {
    let all: u64 = wanted.iter().map(|one| one.tensor.bytes).sum();
    let (mut done, mut packed) = (0, Vec::with_capacity(wanted.len()));
    for window in wanted.chunks(WINDOW) {
        progress(done as f32 / all.max(1) as f32);
        pool.run(window.len(), &|i| {
            let result = matrix(gguf, window[i].tensor);
            *window[i].packed.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        });
        for one in window {
            let result = one.packed.lock().unwrap_or_else(PoisonError::into_inner).take();
            let lost = || Err(Error::Invalid(format!("tensor {:?} is gone", one.tensor.name)));
            packed.push(result.unwrap_or_else(lost)?);
            done += one.tensor.bytes;
        }
    }
    progress(1.0);
    Ok(packed)
}

/// Reads and packs one matrix, piece by piece.
fn matrix(gguf: &Gguf, tensor: &TensorInfo) -> Result<Matrix, Error> {
    let failed = |error: PackError| match error {
        PackError::Memory(bytes) => {
            let what = format!("tensor {:?} needs {bytes} bytes of memory", tensor.name);
            Error::Environment(format!("{what}, which are not to be had"))
        }
        other => Error::Invalid(format!("tensor {:?}: {other}", tensor.name)),
    };
    let mut packer = Matrix::packer(tensor.ty, tensor.rows(), tensor.columns()).map_err(failed)?;
    let row = tensor.row_bytes();
    let rows = (PIECE / row).clamp(1, tensor.rows());
    let mut piece = vec![0; rows * row];
    let mut from = 0;
    while from < tensor.bytes {
        let len = piece.len().min(usize::try_from(tensor.bytes - from).unwrap_or(usize::MAX));
        let piece = &mut piece[..len];
        gguf.read_into(tensor, from, piece)?;
        finite(tensor, piece)?;
        packer.push(piece).map_err(failed)?;
        from += len as u64;
    }
    packer.finish().map_err(failed)
}

/// The values of a small tensor.
fn values(gguf: &Gguf, tensor: &TensorInfo) -> Result<Vec<f32>, Error> {
    let bytes = gguf.read(tensor)?;
    finite(tensor, &bytes)?;
    let mut values = vec![0.0; tensor.values()];
    quant::dequantize(tensor.ty, &bytes, &mut values)
        .map_err(|error| Error::Invalid(format!("tensor {:?}: {error}", tensor.name)))?;
    Ok(values)
}

/// Refuses infinities and NaN among weights and their scales: one of them would make every
/// answer of the model nothing.
fn finite(tensor: &TensorInfo, bytes: &[u8]) -> Result<(), Error> {
    let scales: &[usize] = match tensor.ty {
        Type::Q4_1 | Type::Q5_1 | Type::Q4K | Type::Q5K => &[0, 2],
        Type::Q6K => &[208],
        _ => &[0],
    };
    let bad = bytes.chunks_exact(tensor.ty.block_bytes()).any(|block| match tensor.ty {
        Type::F32 => block[3] & 0x7f == 0x7f && block[2] & 0x80 != 0,
        Type::Bf16 => block[1] & 0x7f == 0x7f && block[0] & 0x80 != 0,
        _ => scales.iter().any(|&at| block[at + 1] & 0x7c == 0x7c),
    });
    if bad {
        let what = format!("tensor {:?} has weights that are not finite numbers", tensor.name);
        return Err(Error::Invalid(what));
    }
    Ok(())
}
