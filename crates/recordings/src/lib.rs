//! What a stereo recording of a call says about who spoke when: bytes in, findings out. No
//! network and no processes.
//!
//! A gate (`vad`) decides whether there is speech, an adaptive energy envelope decides where it
//! begins and ends, a guard drops what is the other channel's echo, and `turns` says who answered
//! whom, and how late.

mod analyzer;
mod audio;
pub mod csv;
mod decode;
mod dialogue;
mod findings;
mod options;
pub mod page;
mod resample;
mod segment;
mod stats;
mod summary;
mod threshold;
mod track;
pub mod truth;
mod turn;
pub mod vad;

pub use analyzer::{Analyzer, analyze};
pub use audio::{Side, Stereo};
pub use decode::{DecodeError, Decoder, HOURS_MAX, Piece};
pub use findings::{Findings, Track, Warning};
pub use options::{CallerChannel, Definition, Options};
pub use resample::Resampler;
pub use segment::Segment;
pub use stats::{Distribution, Quantile};
pub use summary::{Summary, grouped};
pub use threshold::{Subject, Threshold};
pub use turn::{Turn, TurnKind};
