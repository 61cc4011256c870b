//! The model as the engine sees it.

use super::forward::{Machine, STEP, Scratch};
use super::kv::{Ledger, PAGE, Store, page_bytes};
use super::weights::Weights;
use super::{Config, Error};
use crate::decoder::{DecodeError, Decoder, KvUsage, Row, Shape, Token};
use crate::gguf::Gguf;
use crate::matrix::{Isa, Pool};

/// Memory for past tokens unless told otherwise: some thousand tokens of a small model.
const KV_BYTES: usize = 64 << 20;

/// One whole context is given room up to this much, unless told otherwise.
const CONTEXT_BYTES: usize = 1 << 30;

/// How a model is made ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Sequences that can run at once.
    pub slots: usize,
    /// Tokens of the longest sequence; what the model was trained for if absent or larger.
    pub context: Option<usize>,
    /// Tokens that are remembered in all; what fits 64 MiB if absent, at least one context.
    pub kv_tokens: Option<usize>,
    /// The same as memory, in bytes, where `kv_tokens` is absent.
    pub kv_bytes: Option<usize>,
    /// Threads that compute.
    pub threads: usize,
    /// Instruction set; the best one if absent.
    pub isa: Option<Isa>,
}

/// A model on the CPU.
pub struct Model {
    config: Config,
    weights: Weights,
    pool: Pool,
    isa: Isa,
    ledger: Ledger,
    store: Store,
    scratch: Scratch,
    shape: Shape,
    /// Next position of each slot, while the rows of a step are checked.
    next: Vec<usize>,
}

impl Model {
    /// Reads and packs the weights of `gguf`; `progress` is told the part that is done, 0 to 1.
    ///
    /// # Errors
    /// If the model is not one that this engine runs, is damaged, or does not fit the machine.
    pub fn load(gguf: &Gguf, options: &Options, progress: &dyn Fn(f32)) -> Result<Self, Error> {
        let config = Config::of(gguf)?;
        let isa = options.isa.unwrap_or_else(Isa::best);
        if !isa.is_available() {
            return Err(Error::Environment(format!("this processor has no {isa}")));
        }
        let (pages, context) = room(&config, options)?;
        memory(gguf, &config, pages, options)?;
        let pool = Pool::new(options.threads.max(1));
        let weights = Weights::load(gguf, &config, &pool, progress)?;
        let scratch = Scratch::new(&config, weights.rope_factors.as_deref())?;
        let store = Store::new(pages, config.layers, config.kv_heads, config.head_dim)
            .ok_or_else(|| Error::Environment("no memory for past tokens".into()))?;
        let slots = options.slots.max(1);
        let shape = Shape { vocab: config.vocab, context, slots };
        let ledger = Ledger::new(pages, slots);
        let next = vec![0; slots];
        Ok(Self { config, weights, pool, isa, ledger, store, scratch, shape, next })
    }

    /// Its sizes and constants.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The instruction set that it runs on.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Holds the rows of a step against the rules.
    fn check(&mut self, rows: &[Row]) -> Result<(), DecodeError> {
        for slot in 0..self.shape.slots {
            self.next[slot] = self.ledger.len(slot).unwrap_or(usize::MAX);
        }
        for row in rows {
            let failed = |what: String| Err(DecodeError::Failed(what));
            let Some(next) = self.next.get_mut(row.slot).filter(|next| **next != usize::MAX) else {
                return failed(format!("slot {} is not open", row.slot));
            };
            if row.position != *next {
                let what = format!("slot {} is at {next}, not at {}", row.slot, row.position);
                return failed(what);
            }
            if row.position >= self.ledger.room(row.slot).min(self.shape.context) {
                return failed(format!("slot {} has no room at {}", row.slot, row.position));
            }
            if row.token as usize >= self.shape.vocab {
                return failed(format!("token {} is past the vocabulary", row.token));
            }
            *next += 1;
        }
        Ok(())
    }
}

impl Decoder for Model {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn open(&mut self, slot: usize, tokens: &[Token], room: usize) -> Result<usize, DecodeError> {
        if room > self.shape.context {
            let what = format!("room for {room} tokens, the context is {}", self.shape.context);
            return Err(DecodeError::Failed(what));
        }
        let opened = self.ledger.open(slot, tokens, room)?;
        if let Some((from, to)) = opened.copy {
            self.store.copy(from, to);
        }
        Ok(opened.cached)
    }

    fn decode(&mut self, rows: &[Row], logits: &mut Vec<f32>) -> Result<(), DecodeError> {
        self.check(rows)?;
        let start = logits.len();
        let machine = Machine { pool: &self.pool, isa: self.isa };
        for rows in rows.chunks(STEP) {
            let memory = (&self.ledger, &mut self.store);
            let model = (&self.config, &self.weights);
            let done = self.scratch.forward(model, machine, memory, rows, logits);
            if let Err(error) = done {
                logits.truncate(start);
                return Err(error);
            }
            for row in rows {
                self.ledger.push(row.slot, row.token);
            }
        }
        Ok(())
    }

    fn close(&mut self, slot: usize) {
        self.ledger.close(slot);
    }

    fn kv(&self) -> KvUsage {
        self.ledger.usage()
    }
}

/// Pages for past tokens, and the tokens of the longest sequence.
fn room(config: &Config, options: &Options) -> Result<(usize, usize), Error> {
    let context = options.context.unwrap_or(config.context).clamp(1, config.context);
    let bytes = page_bytes(config.layers, config.kv_heads, config.head_dim);
    let pages = match (options.kv_tokens, options.kv_bytes) {
        (Some(tokens), _) => tokens.div_ceil(PAGE),
        (None, Some(most)) => most / bytes,
        (None, None) => context.div_ceil(PAGE).min(CONTEXT_BYTES / bytes).max(KV_BYTES / bytes),
    };
    let pages = pages.max(1);
    if u32::try_from(pages).is_err() {
        return Err(Error::Environment(format!("{pages} pages of past tokens are too many")));
    }
    Ok((pages, context.min(pages * PAGE)))
}

/// Refuses what the machine cannot hold before anything of it is allocated.
fn memory(gguf: &Gguf, config: &Config, pages: usize, options: &Options) -> Result<(), Error> {
    let weights: u64 = gguf.tensors().iter().map(|tensor| tensor.bytes).sum();
    let page = page_bytes(config.layers, config.kv_heads, config.head_dim) as u64;
    let kv = page.saturating_mul(pages as u64);
    let width = 2 * config.embed + 2 * config.query_dim() + 2 * config.kv_dim() + 3 * config.ffn;
    let step = (4 * STEP * width + 4 * options.slots * config.vocab) as u64;
    let wanted = weights.saturating_add(kv).saturating_add(step);
    let Some(total) = total_memory() else { return Ok(()) };
    if wanted <= total {
        return Ok(());
    }
    let (wanted_mb, kv_mb) = (wanted >> 20, kv >> 20);
    let why = format!("the machine has {} MB; take a smaller model or context", total >> 20);
    Err(Error::Memory { wanted_mb, kv_mb, why })
}

/// Bytes of memory of this machine, where the system says so.
fn total_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
