//! Many requests, one model: admits, batches, samples, streams.
//!
//! One thread owns the [`Decoder`](crate::Decoder). Requests come over a bounded queue; their
//! tokens go out over bounded channels, and a receiver that is dropped cancels its request.

#[expect(dead_code, reason = "the thread that runs the model is being written")]
mod desk;
mod handle;
mod options;
#[expect(dead_code, reason = "the thread that runs the model is being written")]
mod outlet;
mod request;
mod work;

pub use handle::Engine;
pub use options::Options;
pub use request::{
    Finish, FinishReason, Generation, Output, Piece, Refused, Request, SlotState, SlotView, Stats,
    Timings, Usage,
};
