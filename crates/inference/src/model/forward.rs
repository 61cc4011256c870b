//! One step of the model: rows of tokens in, logits out.

use std::sync::{Mutex, PoisonError};

use super::attention::{Block, Past, attend};
use super::kv::{Ledger, PAGE, Store};
use super::plan::Plan;
use super::rope::Angles;
use super::simd::{add, lost, rms_norm, silu_mul};
use super::weights::{Layer, Weights};
use super::{Config, Error};
use crate::decoder::{DecodeError, Row};
use crate::matrix::{Activations, Isa, Job, Matrix, Pool, multiply};

/// Rows that go through the model together at most; more are taken in turns, which gives the
/// same results and keeps buffers and caches small.
pub const STEP: usize = 128;

/// What computes.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// Threads.
    pub pool: &'a Pool,
    /// Instruction set.
    pub isa: Isa,
}

/// The values between the parts of one step; kept, so that a step allocates nothing.
#[derive(Debug)]
pub struct Scratch {
    angles: Angles,
    plan: Plan,
    /// The residual stream: `[rows][embed]`.
    x: Vec<f32>,
    /// Normed input, and the output of a part: `[rows][embed]`.
    h: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    rows: Vec<Row>,
    integers: Activations,
    blocks: Vec<Mutex<Block>>,
}

impl Scratch {
    /// Buffers for any step of this model.
    ///
    /// # Errors
    /// If the memory is not to be had.
    pub fn new(config: &Config, factors: Option<&[f32]>) -> Result<Self, Error> {
        let buffer = |width: usize| -> Result<Vec<f32>, Error> {
            let mut buffer = Vec::new();
            let short = |_| Error::Environment("no memory for the buffers of a step".into());
            buffer.try_reserve_exact(STEP * width).map_err(short)?;
            Ok(buffer)
        };
        Ok(Self {
            angles: Angles::new(&config.rope, factors),
            plan: Plan::default(),
            x: buffer(config.embed)?,
            h: buffer(config.embed.max(config.query_dim()))?,
            q: buffer(config.query_dim())?,
            k: buffer(config.kv_dim())?,
            v: buffer(config.kv_dim())?,
            gate: buffer(config.ffn)?,
            up: buffer(config.ffn)?,
            rows: Vec::with_capacity(STEP),
            integers: Activations::new(),
            blocks: Vec::new(),
        })
    }

    /// Runs up to [`STEP`] rows, and appends the logits that are wanted.
    ///
    /// # Errors
    /// If logits are not finite numbers; nothing is appended then.
    pub fn forward(
        &mut self,
        (config, weights): (&Config, &Weights),
        machine: Machine<'_>,
        (ledger, store): (&Ledger, &mut Store),
        rows: &[Row],
        logits: &mut Vec<f32>,
    ) -> Result<(), DecodeError> {
        self.rows.clear();
        self.rows.extend_from_slice(rows);
        self.x.resize(rows.len() * config.embed, 0.0);
        for (row, x) in rows.iter().zip(self.x.chunks_exact_mut(config.embed)) {
            weights.embed.row(row.token as usize, x);
        }
        self.angles.set(rows.iter().map(|row| row.position));
        self.plan.set(rows);
        for (number, layer) in weights.layers.iter().enumerate() {
            self.project(config, layer, machine);
            self.remember(config, ledger, store, number);
            if number + 1 == weights.layers.len() {
                // What comes now only matters to rows that want logits.
                self.keep_wanted(config);
                if self.rows.is_empty() {
                    return Ok(());
                }
            }
            self.attend(config, machine, ledger, store, number);
            self.finish_layer(config, layer, machine);
        }
        self.logits(config, weights, machine, logits)
    }

    /// Queries, keys and values of a layer, turned by their positions.
    fn project(&mut self, config: &Config, layer: &Layer, machine: Machine<'_>) {
        let isa = machine.isa;
        self.norm(config, &layer.attn_norm, isa);
        let matrices = [&layer.q, &layer.k, &layer.v];
        let outs = [&mut self.q, &mut self.k, &mut self.v];
        product(machine, &mut self.integers, &self.h, matrices, outs);
        if layer.refine {
            self.gate.resize(self.h.len(), 0.0);
            lost(isa, &self.h, &mut self.gate);
            product(machine, &mut self.integers, &self.gate, [&layer.v], [&mut self.up]);
            add(isa, &mut self.v, &self.up);
        }
        for (x, bias) in [&mut self.q, &mut self.k, &mut self.v].into_iter().zip(&layer.biases) {
            if !bias.is_empty() {
                add(isa, x, bias);
            }
        }
        self.angles.turn(isa, &mut self.q, config.heads, config.head_dim);
        self.angles.turn(isa, &mut self.k, config.kv_heads, config.head_dim);
    }

    /// Stores keys and values.
    fn remember(&self, config: &Config, ledger: &Ledger, store: &mut Store, layer: usize) {
        let keys = self.k.chunks_exact(config.kv_dim());
        let values = self.v.chunks_exact(config.kv_dim());
        for (row, (keys, values)) in self.rows.iter().zip(keys.zip(values)) {
            if let Some(page) = ledger.page(row.slot, row.position) {
                store.put(page, layer, row.position % PAGE, keys, values);
            }
        }
    }

    /// Drops the rows that want no logits.
    fn keep_wanted(&mut self, config: &Config) {
        let mut kept = 0;
        for at in 0..self.rows.len() {
            if self.rows[at].logits {
                self.rows[kept] = self.rows[at];
                for (buffer, width) in
                    [(&mut self.x, config.embed), (&mut self.q, config.query_dim())]
                {
                    buffer.copy_within(at * width..(at + 1) * width, kept * width);
                }
                kept += 1;
            }
        }
        self.rows.truncate(kept);
        self.x.truncate(kept * config.embed);
        self.q.truncate(kept * config.query_dim());
        self.plan.set(&self.rows);
    }

    /// Attention of all rows; the result takes the place of the queries.
    fn attend(
        &mut self,
        config: &Config,
        machine: Machine<'_>,
        ledger: &Ledger,
        store: &Store,
        layer: usize,
    ) {
        let (heads, dim) = (config.kv_heads, config.head_dim);
        let (group, width) = (config.heads / heads, config.query_dim());
        let items = self.plan.len() * heads;
        if self.blocks.len() < items {
            self.blocks.resize_with(items, Mutex::default);
        }
        let (plan, rows, q, blocks) = (&self.plan, &self.rows, &self.q, &self.blocks);
        machine.pool.run(items, &|item| {
            let (order, head) = (plan.block(item / heads), item % heads);
            let mut block = blocks[item].lock().unwrap_or_else(PoisonError::into_inner);
            block.set(order.len() * group, dim, |i| {
                let row = order[i / group];
                let start = row * width + (head * group + i % group) * dim;
                (rows[row].position, &q[start..start + dim])
            });
            let table = |item: usize| ledger.table(rows[plan.block(item / heads)[0]].slot);
            let next = (item + 1 < items).then(|| table(item + 1).first()).flatten();
            let next = next.map(|&page| (page, (item + 1) % heads));
            let past = Past { store, table: table(item), layer, head, next };
            attend(machine.isa, &mut block, past, dim);
        });
        for item in 0..items {
            let (order, head) = (self.plan.block(item / heads), item % heads);
            let block = self.blocks[item].get_mut().unwrap_or_else(PoisonError::into_inner);
            for i in 0..order.len() * group {
                let start = order[i / group] * width + (head * group + i % group) * dim;
                self.q[start..start + dim].copy_from_slice(block.result(i, dim));
            }
        }
    }

    /// What follows attention: its output matrix, and the feed-forward part.
    fn finish_layer(&mut self, config: &Config, layer: &Layer, machine: Machine<'_>) {
        let isa = machine.isa;
        product(machine, &mut self.integers, &self.q, [&layer.o], [&mut self.h]);
        add(isa, &mut self.x, &self.h);
        self.norm(config, &layer.ffn_norm, isa);
        let outs = [&mut self.gate, &mut self.up];
        product(machine, &mut self.integers, &self.h, [&layer.gate, &layer.up], outs);
        silu_mul(isa, &mut self.gate, &self.up);
        product(machine, &mut self.integers, &self.gate, [&layer.down], [&mut self.h]);
        add(isa, &mut self.x, &self.h);
    }

    fn logits(
        &mut self,
        config: &Config,
        weights: &Weights,
        machine: Machine<'_>,
        logits: &mut Vec<f32>,
    ) -> Result<(), DecodeError> {
        self.norm(config, &weights.norm, machine.isa);
        let head = weights.head();
        let start = logits.len();
        logits.resize(start + self.rows.len() * head.rows(), 0.0);
        let out = &mut logits[start..];
        self.integers.quantize(machine.isa, &self.h, self.rows.len(), config.embed, &[head]);
        multiply(&mut [Job { matrix: head, out }], &self.integers, machine.pool, machine.isa);
        if logits[start..].iter().all(|logit| logit.is_finite()) {
            return Ok(());
        }
        logits.truncate(start);
        let what = "the model's numbers grew past what f32 can hold; its weights are not sound";
        Err(DecodeError::Failed(what.into()))
    }

    fn norm(&mut self, config: &Config, weight: &[f32], isa: Isa) {
        self.h.resize(self.x.len(), 0.0);
        rms_norm(isa, &self.x, weight, config.rms_eps, &mut self.h);
    }
}

/// `outs[i] = x * matrices[i]`, all in one parallel region.
fn product<const N: usize>(
    machine: Machine<'_>,
    integers: &mut Activations,
    x: &[f32],
    matrices: [&Matrix; N],
    outs: [&mut Vec<f32>; N],
) {
    let cols = matrices[0].cols();
    let n = x.len() / cols;
    integers.quantize(machine.isa, x, n, cols, &matrices);
    let mut pairs = matrices.into_iter().zip(outs);
    let mut jobs: [Job<'_>; N] = std::array::from_fn(|_| {
        let (matrix, out) = pairs.next().expect("as many outputs as matrices");
        out.resize(n * matrix.rows(), 0.0);
        Job { matrix, out }
    });
    multiply(&mut jobs, integers, machine.pool, machine.isa);
}
