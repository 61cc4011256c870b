use std::time::Duration;

/// How an [`Engine`](super::Engine) shares the model out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Requests that may wait for a slot. Short, since a caller on the phone hears the wait:
    /// past it, [`Refused::Full`](super::Refused::Full) sends them to another worker at once.
    pub queue: usize,
    /// Rows of one step at most, at least 1 and never fewer than there are slots.
    pub step_rows: usize,
    /// Prompt rows at most of a step that also generates, at least 1: what bounds the time
    /// between two tokens of the voices that talk.
    pub chunk_rows: usize,
    /// Parts of an answer that wait for their reader, at least 1. Past it the sequence pauses.
    pub output_buffer: usize,
    /// How long a sequence pauses for its reader before it is cancelled.
    pub stuck_after: Duration,
}

impl Options {
    /// The defaults for a model with `slots` slots: as many may wait as run, which is about one
    /// answer's time.
    pub fn for_slots(slots: usize) -> Self {
        Self {
            queue: slots,
            step_rows: 64,
            chunk_rows: 32,
            output_buffer: 32,
            stuck_after: Duration::from_secs(30),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::for_slots(4)
    }
}
