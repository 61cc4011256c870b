//! Quantised matrices: packed row tiles, kernels, and the threads that run them.
//!
//! A [`Matrix`] is packed once, from the rows of a tensor. For each input of a layer,
//! [`Activations`] quantises the rows of activations once, and [`multiply`] multiplies them with
//! all matrices that share this input.
//!
//! Invariant: a value of a product depends on its row of activations and its row of weights
//! alone. The number and order of other rows, threads, and even the instruction set change no bit.

mod activations;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions and pointers to what they load")]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions and pointers to what they load")]
mod avx512;
mod dispatch;
mod isa;
mod kernel;
mod layout;
mod multiply;
#[cfg(target_arch = "aarch64")]
#[expect(unsafe_code, reason = "vector instructions and pointers to what they load")]
mod neon;
mod packed;
mod pool;
mod scalar;
mod scale;
mod source;
mod storage;
mod tile;

pub use activations::Activations;
pub use isa::{Isa, UnknownIsa};
pub use multiply::{Job, multiply};
pub use packed::{Matrix, PackError, Packer};
pub use pool::Pool;
