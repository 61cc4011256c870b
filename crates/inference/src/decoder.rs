//! What the engine needs of a model: tokens in, logits out, several sequences at once.

/// Id of a token in the model's vocabulary.
pub type Token = u32;

/// Fixed sizes of a loaded model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Entries of the vocabulary: the length of one row of logits.
    pub vocab: usize,
    /// Tokens of the longest sequence.
    pub context: usize,
    /// Sequences that can run at once.
    pub slots: usize,
}

/// One token of one sequence, to be run through the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The sequence, below [`Shape::slots`].
    pub slot: usize,
    /// Place in the sequence, from 0. A slot's rows come in order, without gaps.
    pub position: usize,
    /// The token there.
    pub token: Token,
    /// Whether the logits that follow this token are wanted.
    pub logits: bool,
}

/// How full the memory of past tokens (the KV cache) is, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvUsage {
    /// Held by running sequences, what is reserved for them included.
    pub used: usize,
    /// Kept for later sequences with the same beginning; given up when room is needed.
    pub cached: usize,
    /// Room in all.
    pub total: usize,
}

/// Why the model cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not enough free room for the sequence now; there will be when others end.
    #[error("no room for {wanted} tokens, {free} are free")]
    NoRoom {
        /// Tokens asked for.
        wanted: usize,
        /// Tokens that could be had.
        free: usize,
    },
    /// A rule of this interface was broken, or the backend failed.
    #[error("{0}")]
    Failed(String),
}

/// A model that runs several sequences at once and remembers their tokens.
///
/// One thread owns it. A sequence lives in a slot from [`open`](Self::open) to
/// [`close`](Self::close).
pub trait Decoder: Send {
    /// Its sizes.
    fn shape(&self) -> Shape;

    /// Begins the sequence `tokens` in the free slot `slot` with room for `room` tokens in all
    /// (`room >= tokens.len()`). Returns how many of the first tokens are remembered already
    /// and need not be decoded: always fewer than `tokens.len()`, since the last one must be
    /// run to get logits. What the slot's former sequence left, and what other sequences share,
    /// may be used.
    ///
    /// # Errors
    /// [`DecodeError::NoRoom`] if the memory is full at the moment; nothing has changed then.
    fn open(&mut self, slot: usize, tokens: &[Token], room: usize) -> Result<usize, DecodeError>;

    /// Runs `rows` through the model, and appends to `logits` one row of [`Shape::vocab`] values
    /// for each row that wants them, in the order of `rows`. Rows of several slots may be mixed;
    /// those of one slot come in the order of their positions, the first at the end of what
    /// the slot has remembered so far.
    ///
    /// # Errors
    /// If a row breaks these rules, or the backend fails.
    fn decode(&mut self, rows: &[Row], logits: &mut Vec<f32>) -> Result<(), DecodeError>;

    /// Ends the sequence in `slot`. Its tokens may stay remembered while nobody needs the room.
    fn close(&mut self, slot: usize);

    /// How full its memory is.
    fn kv(&self) -> KvUsage;
}
