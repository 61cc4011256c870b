//! One channel, from its samples to the stretches of speech in it.

mod ear;
mod echo;
mod edges;
mod level;
mod regions;

pub(crate) use self::ear::{Ear, Heard};
pub(crate) use self::echo::Echo;
pub(crate) use self::edges::{Sound, sounds};
pub(crate) use self::level::FRAME_S;
#[cfg(test)]
pub(crate) use self::level::frames;
pub(crate) use self::regions::regions;
