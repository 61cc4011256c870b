use std::time::Duration;

use dialtone_inference::sampling::Sampling;

/// What holds for a request that does not say otherwise, and what the server allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How tokens are chosen. Greedy unless told otherwise, where OpenAI's API would take a
    /// temperature of 1: a voice agent wants the same answer to the same words, and small models
    /// ramble at 1.
    pub sampling: Sampling,
    /// Tokens of an answer at most. Every running request holds room for all the tokens that it
    /// may generate, so an open end would let few requests run; and no caller listens longer.
    pub max_tokens: usize,
    /// How long the answer of the two-step route waits for the stream to be fetched. Short: it
    /// holds a slot meanwhile, and who wants it has its address already.
    pub unfetched: Duration,
    /// How long one step of the model may take before the model counts as failed: far more than
    /// the longest chunk of a prompt on a slow machine.
    pub longest_step: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sampling: Sampling::default(),
            max_tokens: 256,
            unfetched: Duration::from_secs(5),
            longest_step: Duration::from_secs(60),
        }
    }
}
