//! The model as written, slowly: weights by the file's formats, activations as f32, sums in f64,
//! nothing rounded to integers or f16. What the engine's errors are measured against.

use crate::Token;
use crate::gguf::{Gguf, TensorInfo};
use crate::model::{Config, Error, Rope};
use crate::quant::dequantize;

/// The logits after each of `tokens`, [`Config::vocab`] values each. For short texts.
///
/// # Errors
/// If the file is no model that the engine runs, or a token is not in its vocabulary.
pub fn logits(gguf: &Gguf, tokens: &[Token]) -> Result<Vec<Vec<f32>>, Error> {
    let reference = Reference { gguf, config: Config::of(gguf)?, tokens: tokens.len() };
    reference.run(tokens)
}

struct Reference<'a> {
    gguf: &'a Gguf,
    config: Config,
    tokens: usize,
}

impl Reference<'_> {
    fn run(&self, tokens: &[Token]) -> Result<Vec<Vec<f32>>, Error> {
        let config = &self.config;
        let table = self.tensor("token_embd.weight")?;
        let mut x = Vec::new();
        for &token in tokens {
            if token as usize >= config.vocab {
                return Err(Error::Invalid(format!("token {token} is past the vocabulary")));
            }
            x.extend(self.row(table, token as usize)?);
        }
        let factors = self.vector("rope_freqs.weight")?;
        for layer in 0..config.layers {
            let name = |part: &str| format!("blk.{layer}.{part}");
            let h = self.norm(&x, &name("attn_norm.weight"))?;
            let mut q = self.biased(&h, &name("attn_q"))?;
            let mut k = self.biased(&h, &name("attn_k"))?;
            let v = self.biased(&h, &name("attn_v"))?;
            for (x, heads) in [(&mut q, config.heads), (&mut k, config.kv_heads)] {
                for (at, row) in x.chunks_exact_mut(heads * config.head_dim).enumerate() {
                    for head in row.chunks_exact_mut(config.head_dim) {
                        turn(&config.rope, factors.as_deref(), at, head);
                    }
                }
            }
            let seen = self.attend(&q, &k, &v);
            add(&mut x, &self.product(&seen, &name("attn_output.weight"))?);
            let h = self.norm(&x, &name("ffn_norm.weight"))?;
            let mut gate = self.product(&h, &name("ffn_gate.weight"))?;
            for (gate, up) in gate.iter_mut().zip(self.product(&h, &name("ffn_up.weight"))?) {
                let g = f64::from(*gate);
                *gate = (g / (1.0 + (-g).exp()) * f64::from(up)) as f32;
            }
            add(&mut x, &self.product(&gate, &name("ffn_down.weight"))?);
        }
        let h = self.norm(&x, "output_norm.weight")?;
        let tied = self.gguf.tensor("output.weight").is_none();
        let head = if tied { "token_embd.weight" } else { "output.weight" };
        let logits = self.product(&h, head)?;
        Ok(logits.chunks_exact(config.vocab).map(<[f32]>::to_vec).collect())
    }

    fn tensor(&self, name: &str) -> Result<&TensorInfo, Error> {
        let missing = || Error::Invalid(format!("there is no tensor {name:?}"));
        self.gguf.tensor(name).ok_or_else(missing)
    }

    fn values(&self, tensor: &TensorInfo, bytes: &[u8]) -> Result<Vec<f32>, Error> {
        let mut out = vec![0.0; bytes.len() / tensor.ty.block_bytes() * tensor.ty.block()];
        dequantize(tensor.ty, bytes, &mut out)
            .map_err(|error| Error::Unsupported(format!("tensor {:?}: {error}", tensor.name)))?;
        Ok(out)
    }

    fn row(&self, tensor: &TensorInfo, row: usize) -> Result<Vec<f32>, Error> {
        let mut bytes = vec![0; tensor.row_bytes()];
        self.gguf.read_into(tensor, (row * bytes.len()) as u64, &mut bytes)?;
        self.values(tensor, &bytes)
    }

    fn vector(&self, name: &str) -> Result<Option<Vec<f32>>, Error> {
        let Some(tensor) = self.gguf.tensor(name) else { return Ok(None) };
        self.values(tensor, &self.gguf.read(tensor)?).map(Some)
    }

    fn norm(&self, x: &[f32], weight: &str) -> Result<Vec<f32>, Error> {
        let weight = self.values(self.tensor(weight)?, &self.gguf.read(self.tensor(weight)?)?)?;
        let mut out = Vec::with_capacity(x.len());
        for x in x.chunks_exact(weight.len()) {
            let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / x.len() as f64;
            let scale = 1.0 / (mean + f64::from(self.config.rms_eps)).sqrt();
            out.extend(x.iter().zip(&weight).map(|(x, w)| (f64::from(x * w) * scale) as f32));
        }
        Ok(out)
    }

    /// `x` times a matrix: `[tokens][rows]`.
    fn product(&self, x: &[f32], name: &str) -> Result<Vec<f32>, Error> {
        let tensor = self.tensor(name)?;
        let (cols, rows) = (tensor.columns(), tensor.rows());
        if x.len() != self.tokens * cols {
            return Err(Error::Invalid(format!("tensor {name:?} has {cols} inputs")));
        }
        let bytes = self.gguf.read(tensor)?;
        let mut out = vec![0.0; self.tokens * rows];
        for (row, bytes) in bytes.chunks_exact(tensor.row_bytes()).enumerate() {
            let weights = self.values(tensor, bytes)?;
            for (token, x) in x.chunks_exact(cols).enumerate() {
                out[token * rows + row] = dot(x, &weights) as f32;
            }
        }
        Ok(out)
    }

    fn biased(&self, x: &[f32], name: &str) -> Result<Vec<f32>, Error> {
        let mut out = self.product(x, &format!("{name}.weight"))?;
        if let Some(bias) = self.vector(&format!("{name}.bias"))? {
            out.chunks_exact_mut(bias.len()).for_each(|row| add(row, &bias));
        }
        Ok(out)
    }

    fn attend(&self, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
        let Config { heads, kv_heads, head_dim, .. } = self.config;
        let past = |x: &[f32], at: usize, head: usize| {
            let start = (at * kv_heads + head / (heads / kv_heads)) * head_dim;
            x[start..start + head_dim].to_vec()
        };
        let mut out = Vec::with_capacity(q.len());
        for (i, q) in q.chunks_exact(head_dim).enumerate() {
            let (at, head) = (i / heads, i % heads);
            let scores: Vec<f64> =
                (0..=at).map(|t| dot(q, &past(k, t, head)) / (head_dim as f64).sqrt()).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let p: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let total: f64 = p.iter().sum();
            let mut sums = vec![0.0; head_dim];
            for (t, p) in p.iter().enumerate() {
                for (sum, v) in sums.iter_mut().zip(past(v, t, head)) {
                    *sum += p * f64::from(v);
                }
            }
            out.extend(sums.iter().map(|sum| (sum / total) as f32));
        }
        out
    }
}

fn turn(rope: &Rope, factors: Option<&[f32]>, position: usize, head: &mut [f32]) {
    let pairs = rope.dims / 2;
    for i in 0..pairs {
        let rate = f64::from(rope.base).powf(-2.0 * i as f64 / rope.dims as f64);
        let factor = factors.map_or(1.0, |factors| f64::from(factors[i])) * f64::from(rope.scale);
        let (sin, cos) = (position as f64 * rate / factor).sin_cos();
        let (a, b) = if rope.neox { (i, i + pairs) } else { (2 * i, 2 * i + 1) };
        let (x, y) = (f64::from(head[a]), f64::from(head[b]));
        head[a] = (x * cos - y * sin) as f32;
        head[b] = (x * sin + y * cos) as f32;
    }
}

fn add(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

/// Sums in f64, in 8 parts so that the compiler may take them together.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            lanes[i] += f64::from(a[i]) * f64::from(b[i]);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    lanes.iter().sum::<f64>() + rest
}
