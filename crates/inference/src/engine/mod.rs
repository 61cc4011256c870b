//! Many requests, one model: admits, batches, samples, streams.
//!
//! One thread owns the [`Decoder`](crate::Decoder). Requests come over a bounded queue; their
//! tokens go out over bounded channels, and a receiver that is dropped cancels its request.

mod desk;
mod estimate;
mod handle;
mod options;
mod outlet;
mod pace;
mod plan;
mod request;
mod sequence;
mod slot;
mod stops;
mod text;
mod work;

pub use handle::Engine;
pub use options::Options;
pub use request::{
    Finish, FinishReason, Generation, Output, Piece, Refused, Request, SlotState, SlotView, Stats,
    Timings, Usage,
};
