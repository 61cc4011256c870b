//! What a batch's options mean, as pure functions: no I/O, no clock, no chance but the
//! batch's seed. The dispatcher asks them; stores know nothing of them.

pub mod breaker;
pub mod pace;
pub mod retry;
pub mod schedule;
pub mod share;
pub mod wave;
pub mod window;
pub mod zone;
