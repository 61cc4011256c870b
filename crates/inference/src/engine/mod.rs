//! Many requests, one model: admits, batches, samples, streams.
//!
//! One thread owns the [`Decoder`](crate::Decoder). Requests come over a bounded queue; their
//! tokens go out over bounded channels, and a receiver that is dropped cancels its request.

mod request;

pub use request::{
    Finish, FinishReason, Generation, Output, Piece, Refused, Request, SlotState, SlotView, Stats,
    Timings, Usage,
};
