use std::sync::Arc;

use llama_cpp_2::LlamaContextLoadError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use crate::decoder::{DecodeError, Decoder, KvUsage, Row, Shape, Token};

use super::BATCH;
use super::memory::{Memory, Opening};

/// A model that llama.cpp runs.
pub(super) struct LlamaCpp {
    // Before the model, so that it is dropped first.
    context: LlamaContext<'static>,
    batch: LlamaBatch<'static>,
    memory: Memory,
    shape: Shape,
    _model: Arc<LlamaModel>,
}

impl LlamaCpp {
    pub(super) fn new(
        backend: &LlamaBackend,
        model: Arc<LlamaModel>,
        params: LlamaContextParams,
        shape: Shape,
    ) -> Result<Self, LlamaContextLoadError> {
        let context = outliving(&model).new_context(backend, params)?;
        let parts = !model.is_recurrent() && !model.is_hybrid();
        let total = context.n_ctx() as usize;
        let memory = Memory::new(shape, total, parts);
        let batch = LlamaBatch::new(BATCH as usize, 1);
        Ok(Self { context, batch, memory, shape, _model: model })
    }

    /// Forgets a sequence from a position on.
    fn forget(&mut self, slot: usize, from: usize) -> Result<(), DecodeError> {
        let sequence = u32::try_from(slot).map_err(failed)?;
        let from = u32::try_from(from).map_err(failed)?;
        match self.context.clear_kv_cache_seq(Some(sequence), Some(from), None) {
            Ok(true) => Ok(()),
            Ok(false) => Err(DecodeError::Failed(format!("slot {slot} cannot forget from {from}"))),
            Err(error) => Err(failed(error)),
        }
    }

    /// Runs at most [`BATCH`] rows.
    fn run(&mut self, rows: &[Row], logits: &mut Vec<f32>) -> Result<(), DecodeError> {
        self.batch.clear();
        for row in rows {
            let token = LlamaToken(i32::try_from(row.token).map_err(failed)?);
            let position = i32::try_from(row.position).map_err(failed)?;
            let sequence = i32::try_from(row.slot).map_err(failed)?;
            self.batch.add(token, position, &[sequence], row.logits).map_err(failed)?;
        }
        self.context.decode(&mut self.batch).map_err(failed)?;
        for (row, at) in rows.iter().zip(0..) {
            if row.logits {
                logits.extend_from_slice(self.context.get_logits_ith(at));
            }
        }
        Ok(())
    }
}

impl Decoder for LlamaCpp {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn open(&mut self, slot: usize, tokens: &[Token], room: usize) -> Result<usize, DecodeError> {
        let Opening { forget, copy, kept } = self.memory.open(slot, tokens, room)?;
        match copy {
            None => self.forget(slot, kept)?,
            Some(source) => {
                self.forget(slot, 0)?;
                let source = i32::try_from(source).map_err(failed)?;
                let target = i32::try_from(slot).map_err(failed)?;
                let end = u32::try_from(kept).map_err(failed)?;
                let copied = self.context.copy_kv_cache_seq(source, target, Some(0), Some(end));
                copied.map_err(failed)?;
            }
        }
        for slot in forget {
            self.forget(slot, 0)?;
        }
        Ok(kept)
    }

    fn decode(&mut self, rows: &[Row], logits: &mut Vec<f32>) -> Result<(), DecodeError> {
        for rows in rows.chunks(BATCH as usize) {
            let before: Vec<(usize, usize)> =
                rows.iter().map(|row| (row.slot, row.position)).collect();
            for (at, row) in rows.iter().enumerate() {
                if let Err(error) = self.memory.check(row) {
                    self.memory.undo(&before[..at]);
                    return Err(error);
                }
                self.memory.push(row);
            }
            if let Err(error) = self.run(rows, logits) {
                // llama.cpp may have kept some of them.
                for (slot, position) in before.iter().rev() {
                    let _ = self.forget(*slot, *position);
                }
                self.memory.undo(&before);
                return Err(error);
            }
        }
        Ok(())
    }

    fn close(&mut self, slot: usize) {
        if self.memory.close(slot) {
            // Whole sequences can always be forgotten.
            let _ = self.forget(slot, 0);
        }
    }

    fn kv(&self) -> KvUsage {
        self.memory.usage()
    }
}

/// The model for as long as it is wanted: the caller keeps the `Arc` until after the context.
#[expect(unsafe_code, reason = "a context borrows its model, and both are kept in one place")]
fn outliving(model: &Arc<LlamaModel>) -> &'static LlamaModel {
    // SAFETY: the only caller stores the context that borrows this beside a clone of the `Arc`
    // and drops the context first (fields are dropped in order), so the model, which the `Arc`
    // keeps at one address, outlives every use of the reference.
    unsafe { &*Arc::as_ptr(model) }
}

fn failed(error: impl std::fmt::Display) -> DecodeError {
    DecodeError::Failed(error.to_string())
}
