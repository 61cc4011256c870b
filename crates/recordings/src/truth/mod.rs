//! Ground truth: calls made from known utterances, so that where everybody begins and ends to
//! speak is known by construction, and what an analysis finds can be held against it.
//!
//! Everything is seeded: the same seed, condition and bank make the same samples.

mod bank;
mod call;
mod condition;
mod dice;
mod filter;
mod noise;
mod plan;
mod score;
mod trim;
mod wav;

pub use bank::{Bank, Clip, ClipKind};
pub use call::{Call, TrueTurn};
pub use condition::Condition;
pub use score::{Found, Score};
pub use trim::trim;
pub use wav::{from_mono_wav, to_wav};

/// Samples a second of every call that is made: what telephones carry.
pub const RATE: u32 = 8_000;
